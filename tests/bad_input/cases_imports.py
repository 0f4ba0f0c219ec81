"""`python -m jobs import` of files that are not what they claim."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.bad_input.case import Case
from tests.bad_input.cases_data import Runs, pickled

SETTINGS = (
    "--set shadow_models.seeds=2 --set shadow_models.models_per_seed=3 --set shadow_models.test_models=3 "
    "--set paths.features=HERE/features RUNS"
)
WEIGHTS = f"jobs import demo shadow_models/train-00000 HERE/w.npy {SETTINGS}"
STATISTICS = (
    f"jobs import demo_weights weight_stats mean=HERE/m.npy deviation=HERE/d.npy correlation=HERE/c.npy {SETTINGS}"
)
STATE = f"jobs import demo_weights reconstructor/conditional HERE/state.pth {SETTINGS}"
TABLES = (
    "jobs import demo_weights min_mse/conditional h0=HERE/h0.npy h1=HERE/h1.npy --set evaluation.nulls=[correlation] "
    f"{SETTINGS}"
)
MODELS, SIZE = 3, 2570
GOOD = np.random.default_rng(0).normal(size=(MODELS, SIZE)).astype(np.float32)
SOUND = {"m": np.zeros(SIZE), "d": np.ones(SIZE), "c": np.eye(SIZE, dtype=np.float32)}


def saved(**arrays: np.ndarray | bytes) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        for name, array in arrays.items():
            if isinstance(array, bytes):
                (here / f"{name}.npy").write_bytes(array)
            else:
                np.save(here / f"{name}.npy", array)

    return make


def state(content: object) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        import torch

        made = content() if callable(content) else content
        if isinstance(made, bytes):
            (here / "state.pth").write_bytes(made)
        else:
            torch.save(made, here / "state.pth")

    return make


def weights(wrong: str, line: str, array: np.ndarray | bytes, code: int = 2) -> Case:
    return Case(f"weights: {wrong}", WEIGHTS, code, line, make=saved(w=array))


def statistics(wrong: str, line: str, **changed: np.ndarray) -> Case:
    return Case(f"statistics: {wrong}", STATISTICS, 2, line, make=saved(**SOUND | changed))


def reconstructor(wrong: str, line: str, content: object) -> Case:
    return Case(f"reconstructor: {wrong}", STATE, 2, line, make=state(content))


def tables(wrong: str, line: str, **changed: np.ndarray | bytes) -> Case:
    sound = {"h0": np.full((MODELS, 10), 0.1), "h1": np.full((MODELS, 10), 0.3)}
    return Case(f"min-MSE: {wrong}", TABLES, 2, line, make=saved(**sound | changed))


def quantised():
    import torch

    return {"convT.weight": torch.quantize_per_tensor(torch.ones(3, 3), 0.1, 0, torch.qint8)}


def sparse():
    import torch

    return {"convT.weight": torch.eye(3).to_sparse()}


def unequal(row: int, column: int, value: float) -> np.ndarray:
    changed = SOUND["c"].copy()
    changed[row, column] = value
    return changed


CASES = [
    weights("sound", "demo", GOOD, code=0),
    Case(
        "weights: where head inversion learns",
        f"{WEIGHTS} --set head_inversion.augmentation=null",
        2,
        "train-00000: teaches head inversion here",
        make=saved(w=GOOD),
    ),
    weights("strings", "real numbers", np.full((MODELS, SIZE), "a")),
    weights("complex", "real numbers", GOOD * 1j),
    weights("structured", "real numbers", np.zeros(MODELS, [("a", "f4"), ("b", "i4")])),
    weights("dates", "real numbers", np.zeros((MODELS, SIZE), "datetime64[s]")),
    weights("yes and no", "real numbers", GOOD > 0),
    weights("objects", r"w\.npy(?!.*allow_pickle)", pickled(GOOD)),
    weights("too large for float32", "too large for float32", np.full((MODELS, SIZE), 1e300)),
    weights("not finite", "are not finite", np.where(GOOD > 3, np.nan, GOOD)),
    weights("another width", r"expected \(3, 2570\)", GOOD[:, :-1]),
    weights("one model fewer", r"expected \(3, 2570\)", GOOD[1:]),
    weights("empty", r"expected \(3, 2570\)", GOOD[:0]),
    weights("garbage", r"w\.npy(?!.*allow_pickle)", b"\x93NUMPYgarbage"),
    weights("no bytes", "w.npy", b""),
    weights("code", r"w\.npy(?!.*allow_pickle)", pickled(Runs())),
    Case("weights: a directory", WEIGHTS, 2, "no such file", make=lambda here: (here / "w.npy").mkdir()),
    Case("weights: an .npz", WEIGHTS.replace("w.npy", "w.npz"), 2, "only .npy", {"w.npz": "x"}),
    statistics("negative deviations", "negative", d=-np.ones(SIZE)),
    statistics("no weight varies", "deviation", d=np.zeros(SIZE)),
    statistics("a mean of another length", "expected", m=np.zeros(SIZE - 1)),
    statistics("a correlation that is not square", "expected", c=np.eye(SIZE, dtype=np.float32)[:-1]),
    statistics("a correlation of another size", "expected", c=np.eye(7)),
    statistics("a correlation that is not symmetric", "correlation", c=unequal(0, 1, 0.5)),
    statistics("a negative variance", "correlation", c=-np.eye(SIZE, dtype=np.float32)),
    statistics("a correlation beyond one", "correlation", c=unequal(0, 0, 40.0)),
    statistics("a number alone", "expected", m=np.float64(0)),
    reconstructor("code", "could run code", pickled(Runs())),
    reconstructor("text", "state.pth", b"no weights"),
    reconstructor("no bytes", "state.pth", b""),
    reconstructor("a list", "of type list; expected a state dict", [1, 2]),
    reconstructor("a number", "of type int; expected a state dict", 5),
    reconstructor("strings", "is of type str; expected names with tensors", {"convT.weight": "a"}),
    reconstructor("numbers as names", "expected names with tensors", {1: 2}),
    reconstructor("lists of lists", "expected names with tensors", {"state": [{}]}),
    reconstructor("sparse", "sparse", sparse),
    reconstructor("quantised", "quantised", quantised),
    reconstructor("a head", "convT.weight", lambda: {"weight": __import__("torch").zeros(2, 2)}),
    reconstructor("of one dimension", "convT.weight", lambda: {"convT.weight": __import__("torch").zeros(2)}),
    reconstructor("a scalar", "convT.weight", lambda: {"convT.weight": __import__("torch").zeros(())}),
    tables("empty", "empty|expected", h0=np.zeros((0, 10)), h1=np.zeros((0, 10))),
    tables("no reconstructions", "empty|expected", h0=np.zeros((3, 0)), h1=np.zeros((3, 0))),
    tables("strings", "real numbers", h0=np.full((3, 10), "a")),
    tables("negative", "lies in 0", h0=np.full((3, 10), -1.0)),
    tables("other widths", "expected", h1=np.full((3, 9), 0.3)),
    tables("a cube", "expected", h0=np.zeros((3, 10, 2))),
]
