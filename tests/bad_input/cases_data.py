"""Images, labels, backbones and settings that do not belong together: said before any work starts."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bad_input.case import Case

GRADIENT = (
    "jobs run gradient_inversion_demo --executor inline --set gradient_inversion.images=2 "
    "--set gradient_inversion.attacks=[r_conv] RUNS"
)
HEADS = (
    "jobs run demo --executor inline --set shadow_models.seeds=2 --set shadow_models.models_per_seed=3 "
    "--set shadow_models.test_models=3 --set reconstructor.steps=2 --set paths.features=HERE/features RUNS"
)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def arrays(side: int = 32, channels: tuple[int, ...] = (3,), **changed: np.ndarray) -> dict[str, np.ndarray]:
    """A small data set of three classes, and what is wrong with it."""
    sound = {}
    for split, count in (("train", 30), ("test", 12)):
        sound |= {f"{split}_images": numbers(count, side, side, *channels), f"{split}_labels": np.arange(count) % 3}
    return sound | changed


def npz(**given: np.ndarray) -> Callable[[Path], None]:
    return lambda here: np.savez(here / "data.npz", **given)


def folder(spoil: Callable[[Path], None], classes: tuple[str, ...] = ("a", "b", "c")) -> Callable[[Path], None]:
    """train/ and test/ with four pictures a class; `spoil` gets the folder."""

    def make(here: Path) -> None:
        for split in ("train", "test"):
            for name in classes:
                (here / "data" / split / name).mkdir(parents=True)
                for number in range(4):
                    Image.fromarray(numbers(40, 40, 3)).save(here / "data" / split / name / f"{number}.png")
        spoil(here / "data")

    return make


def truncated(data: Path) -> None:
    picture = data / "train" / "a" / "0.png"
    picture.write_bytes(picture.read_bytes()[:200])


def no_picture(data: Path) -> None:
    (data / "train" / "b" / "1.png").write_bytes(b"this is no picture")


def a_bomb(data: Path) -> None:
    Image.new("1", (30000, 30000)).save(data / "train" / "a" / "0.png")


def a_latin_name(data: Path) -> None:
    picture = data / "train" / "a" / "0.png"
    picture.rename(Path(str(data / "train" / "a") + "/\udcf6.png"))


def other_classes(data: Path) -> None:
    (data / "test" / "b").rename(data / "test" / "d")


class Runs:
    """Whoever unpickles it writes a file."""

    def __reduce__(self):
        return exec, ("open('unpickled', 'w')",)


def weights(content: object) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        import torch

        if isinstance(content, bytes):
            (here / "w.pth").write_bytes(content)
        else:
            torch.save(content, here / "w.pth")

    return make


def images(wrong: str, line: str, code: int = 2, **given: np.ndarray) -> Case:
    setting = ("--set", "data={name: npz, path: HERE/data.npz, size: 32}")
    return Case(f"npz: {wrong}", (*words(GRADIENT), *setting), code, line, make=npz(**given))


def pictures(wrong: str, line: str, make: Callable[[Path], None], code: int = 2) -> Case:
    setting = ("--set", "data={name: folder, path: HERE/data, size: 32}")
    return Case(f"folder: {wrong}", (*words(GRADIENT), *setting), code, line, make=make)


def heads(wrong: str, line: str, *settings: str, make: Callable[[Path], None] | None = None, code: int = 2) -> Case:
    return Case(wrong, (*words(HEADS), *(w for one in settings for w in ("--set", one))), code, line, make=make)


def words(command: str) -> tuple[str, ...]:
    return tuple(command.split())


SMALL = "data={name: npz, path: HERE/data.npz, size: 16}"
HEAD_OF_3 = "shadow_models.training.classes=3"


def pickled(what: object) -> bytes:
    file = io.BytesIO()
    pickle.dump(what, file)
    return file.getvalue()


CASES = [
    images("two channels", "1 or 3 channels", **arrays(channels=(2,))),
    images("four channels", "1 or 3 channels", **arrays(channels=(4,))),
    images("no pixels", "expected", **arrays(train_images=numbers(30, 0, 0, 3))),
    images("labels of half", "labels .*whole", **arrays(train_labels=np.arange(30) / 2)),
    images("complex labels", "labels .*whole", **arrays(train_labels=np.arange(30) * 1j)),
    images("labels as text", "labels .*whole", **arrays(train_labels=np.full(30, "a"))),
    images("labels not finite", "labels .*whole", **arrays(train_labels=np.full(30, np.nan))),
    images("whole labels as floats", "done", 0, **arrays(train_labels=np.arange(30.0) % 3)),
    images("a negative label", "labels must be 0 or more", **arrays(train_labels=np.arange(30) % 3 - 1)),
    images("a label of ten billion", "labels must be below", **arrays(train_labels=np.arange(30) + 10**10)),
    images("a label of a million", "labels must be below", **arrays(train_labels=np.arange(30) + 10**6)),
    images("fewer labels than images", "expected", **arrays(train_labels=np.arange(29) % 3)),
    images("pixels as floats", "expected", **arrays(train_images=np.zeros((30, 32, 32, 3)))),
    images("no images", "train_images", test_images=numbers(2, 8, 8), test_labels=np.arange(2)),
    images("an empty file", "data.npz"),
    images("objects", "data.npz", **arrays(train_images=np.array([None] * 30))),
    Case(
        "npz: garbage",
        (*words(GRADIENT), "--set", "data={name: npz, path: HERE/data.npz, size: 32}"),
        2,
        "data.npz.*(?!allow_pickle)",
        {"data.npz": b"\x00garbage"},
    ),
    Case(
        "npz: side of one pixel",
        (*words(GRADIENT), "--set", "data={name: npz, path: HERE/data.npz, size: 1}"),
        2,
        "data.size",
        make=npz(**arrays()),
    ),
    Case(
        "npz: side of 100,000 pixels",
        (*words(GRADIENT), "--set", "data={name: npz, path: HERE/data.npz, size: 100000}"),
        2,
        "data.size",
        make=npz(**arrays()),
    ),
    pictures("a truncated picture", "train/a/0.png", folder(truncated)),
    pictures("no picture", "train/b/1.png", folder(no_picture)),
    pictures("a bomb", "train/a/0.png", folder(a_bomb)),
    pictures("a Latin-1 name", "done", folder(a_latin_name), code=0),
    heads(
        "folder: other classes in test",
        "class b in train",
        "data={name: folder, path: HERE/data, size: 16}",
        HEAD_OF_3,
        make=folder(other_classes),
    ),
    heads("images of 33 pixels for a reconstructor", "data.size", "data.size=33", "reconstructor.network=published"),
    heads("images of 48 pixels for a reconstructor", "data.size", "data.size=48", "reconstructor.network=published"),
    heads("fewer classes than the data", "classes", SMALL, "shadow_models.training.classes=2", make=npz(**arrays(16))),
    heads(
        "more classes in test than in train",
        "test",
        SMALL,
        HEAD_OF_3,
        make=npz(**arrays(16, test_labels=np.arange(12) % 5)),
    ),
    heads(
        "a positive class that is not there",
        r"positive.*99",
        "task={kind: binary, positive: [99]}",
        "shadow_models.training.classes=1",
    ),
    heads("no false-positive rate", "false_positive_rates", "evaluation.false_positive_rates=[]"),
    heads("one shadow model", "shadow_models", "shadow_models.seeds=1", "shadow_models.models_per_seed=1"),
    heads("a batch of heads above all models", "head_inversion.batch_size"),
    heads("a batch above all models", "reconstructor.batch_size", "reconstructor.reads=weights"),
    heads(
        "backbone weights with code",
        "backbone.weights",
        "backbone.weights=HERE/w.pth",
        make=weights(pickled(Runs())),
    ),
    heads("backbone weights of text", "backbone.weights", "backbone.weights=HERE/w.pth", make=weights(b"text")),
    heads("backbone weights: a list", "backbone.weights", "backbone.weights=HERE/w.pth", make=weights([1, 2])),
    heads("backbone weights: other keys", "backbone.weights", "backbone.weights=HERE/w.pth", make=weights({"a": 1})),
    heads("backbone weights missing", "backbone.weights", "backbone.weights=HERE/w.pth"),
    heads("backbone weights: a directory", "backbone.weights", "backbone.weights=HERE"),
    heads(
        "private noise without bound",
        "noise_multiplier",
        "shadow_models.training.epochs=null",
        "shadow_models.training.private={clip_norm: 1, sample_rate: 0.5, steps: 3, noise_multiplier: 1.0e+300}",
    ),
    heads("a learning rate without bound", "learning_rate", "shadow_models.training.learning_rate=1.0e+30"),
    Case("RECON_DATA of nobody", "jobs status mnist_n10 --set paths.data=~nosuchuser/x RUNS", 2, "nosuchuser"),
    Case("data of nobody", (*words(GRADIENT), "--set", "data={name: npz, path: ~nosuchuser/x.npz}"), 2, "nosuchuser"),
]
