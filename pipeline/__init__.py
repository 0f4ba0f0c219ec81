"""The science and the file format. Knows no stage and no scheduler."""

import os
from pathlib import Path

from pipeline.errors import UserError

# Threads that wait for work should sleep: spinning, two of them on a shared machine make a training step ten times as
# long. OpenMP reads this once, when torch is loaded, which is after this line.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shard's threads are torch's, set for each stage. NumPy and SciPy keep to one: the order of their sums is then fixed
# too, and the small factorisations of gradient inversion take a tenth of the time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def located(path: str | Path) -> Path:
    """A path of an experiment. A relative one is taken from the checkout, whatever directory a command runs in; files
    that a YAML file names from its own folder are absolute here already (see pipeline/layers.py)."""
    try:
        return ROOT / Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home directory") from None


def as_typed(path: Path) -> str:
    """A path as a person would type it: from the checkout, when it lies there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
