"""What tests share: small images and the smallest experiment that goes through every stage."""

import os
import subprocess
from pathlib import Path

# Two test processes share two cores; each keeps to one. Read when torch is loaded, so before anything else.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from pipeline.config import Experiment, load

TINY = (
    "shadow_models.seeds=3",
    "shadow_models.models_per_seed=64",
    "shadow_models.test_models=16",
    "reconstructor.width=2",
    "reconstructor.steps=12",
    "reconstructor.batch_size=16",
    "reconstructor.validate_every=6",
    "reconstructor.threads=1",
    "reconstructor.reads=weights",
    "reconstructor.network=published",
    "reconstructor.precision=float32",
    "reconstructor.average=null",
    "head_inversion.augmentation=null",
    "head_inversion.rounds=2",
    "head_inversion.width=8",
    "head_inversion.steps=6",
    "head_inversion.batch_size=16",
    "head_inversion.precision=float32",
    "head_inversion.threads=1",
    "evaluation.bootstraps=20",
    "evaluation.sheet_victims=2",
)


@pytest.fixture
def tiny(tmp_path):
    """Makes the demo with a handful of models and steps, in a run directory of the test's own."""

    def make(*overrides: str, config: str = "demo") -> Experiment:
        places = [f"paths.runs={tmp_path / 'runs'}", f"paths.features={tmp_path / 'features'}"]
        return load(config, [*TINY, *places, *overrides])

    return make


@pytest.fixture
def typed(capfd):
    """`python -m WORDS` in this process, which spares a start of several seconds; as subprocess.run tells of it."""
    from tests.command_line import run

    def typed(*words: object) -> subprocess.CompletedProcess:
        capfd.readouterr()
        code = run([str(word) for word in words])
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return typed


@pytest.fixture
def one_thread():
    """Sums in one order, whatever an earlier test or the machine has set."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def real_data() -> Path:
    """The folder with the real data sets; tests that need it are skipped where it is not given."""
    root = os.environ.get("RECON_DATA")
    if not root:
        pytest.skip("RECON_DATA names no folder with real data sets")
    return Path(root)


@pytest.fixture
def npz_file(tmp_path) -> Path:
    """A user's own images: 3 classes of 8×8 colour."""
    rng = np.random.default_rng(0)
    path = tmp_path / "own.npz"
    parts = {}
    for split, count in (("train", 60), ("test", 30)):
        parts[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        parts[f"{split}_labels"] = np.arange(count) % 3
    np.savez(path, **parts)
    return path


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """Lays out photos in CelebA's own file formats below tmp_path; torchvision's md5 of the full lists is set aside.

    people, splits: of each photo its person and 0 (train), 1 (valid) or 2 (test). Returns their folder and names.
    """
    from PIL import Image
    from torchvision.datasets import CelebA

    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)

    def lay_out(people: list[int], splits: list[int]) -> tuple[Path, list[str]]:
        base = tmp_path / "celeba"
        (base / "img_align_celeba").mkdir(parents=True)
        names = [f"{k:06d}.jpg" for k in range(1, len(people) + 1)]
        for k, name in enumerate(names):
            picture = np.random.default_rng(k).integers(0, 256, (28, 23, 3), dtype=np.uint8)
            Image.fromarray(picture).resize((178, 218), Image.BICUBIC).save(base / "img_align_celeba" / name)

        def table(file: str, rows: list[list], header: list[str] = ()) -> None:
            top = f"{len(names)}\n{' '.join(header)}\n" if header else ""
            lines = "\n".join(" ".join([name, *map(str, row)]) for name, row in zip(names, rows, strict=True))
            (base / file).write_text(top + lines + "\n")

        table("identity_CelebA.txt", [[person] for person in people])
        table("list_eval_partition.txt", [[split] for split in splits])
        attributes = [f"attribute{k}" for k in range(40)]
        table("list_attr_celeba.txt", [[1 if k % 2 else -1] * 40 for k in range(len(names))], attributes)
        table("list_bbox_celeba.txt", [[0] * 4] * len(names), ["x", "y", "w", "h"])
        table("list_landmarks_align_celeba.txt", [[0] * 10] * len(names), [f"l{k}" for k in range(10)])
        return base, names

    return lay_out
