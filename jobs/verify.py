"""Read every byte of an experiment's finished shards and checkpoints, and set aside what is not as it was written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.files import set_aside
from pipeline.seal import verified
from pipeline.store import verify_shard
from stages.plan import Plan


@dataclass
class Verification:
    """How many files were read, their bytes, and for each damaged one where it was set aside and why."""

    files: int = 0
    size: int = 0
    aside: dict[Path, str] = field(default_factory=dict)


def verify(plan: Plan, tell: Callable[[str], None]) -> Verification:
    """Verify shards, the files beside them and checkpoints; reports each damaged file, which is set aside.

    Whoever calls holds the experiment's lock. Raises Failure for a file that cannot be read now.
    """
    found = Verification()
    for stage in plan.stages:
        for shard, standing in plan.standings(stage).items():
            if standing.state != "missing":
                _look(plan.path(stage, shard), verify_shard, found, tell)
            _look(plan.checkpoint_path(stage, shard), lambda path: verified(path).size, found, tell)
    return found


def _look(path: Path, read: Callable[[Path], int], found: Verification, tell: Callable[[str], None]) -> None:
    try:
        found.size += read(path)
        found.files += 1
    except FileNotFoundError:
        pass
    except Damaged as damage:
        aside = set_aside(path, damage.why)
        found.aside[aside] = damage.why
        tell(f"{path}: {damage.why}; set aside as {aside.name}")
