"""What an experiment's directory holds that no command will read again."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.store import shard_facts
from stages.plan import Plan

DAMAGED = re.compile(r"\.damaged-\d+(\.txt)?$")


@dataclass(frozen=True)
class Unneeded:
    """A file that may go, its size in bytes, and why."""

    path: Path
    size: int
    why: str


def unneeded(plans: Sequence[Plan]) -> list[Unneeded]:
    """Of the directory that `plans` share: all the points of a grid, since what one does not need another may.

    Backbones and features are other experiments' too, and stay. Raises Failure for a file that cannot be read now.
    """
    directory = plans[0].experiment.shard_directory
    needed = {path: expected for plan in plans for path, expected in _shards(plan)}
    checkpoints = {
        plan.checkpoint_path(stage, shard)
        for plan in plans
        for stage in plan.stages
        for shard in stage.shards(plan.experiment)
    }
    beside = {path.parent / name for path in needed for name in _names_beside(path)}
    found = []
    for path in sorted(file for file in directory.rglob("*") if file.is_file()):
        if DAMAGED.search(path.name):
            why = "was set aside as damaged"
        elif path.suffix == ".checkpoint" and path not in checkpoints:
            why = "is the checkpoint of other settings"
        elif path.suffix == ".h5" and path not in beside and not _is(path, needed.get(path)):
            why = "is a shard of other settings"
        else:
            continue
        found.append(Unneeded(path, path.stat().st_size, why))
    return found


def _shards(plan: Plan) -> Iterator[tuple[Path, str]]:
    for stage in plan.stages:
        for shard, expected in plan.fingerprints(stage).items():
            yield plan.path(stage, shard), expected


def _names_beside(path: Path) -> list[str]:
    try:
        return list(shard_facts(path)["files"])
    except (FileNotFoundError, Damaged):
        return []


def _is(path: Path, expected: str | None) -> bool:
    """Whether a file is a shard that is needed; or none at all, since only what this program wrote is its to remove."""
    try:
        return shard_facts(path)["fingerprint"] == expected
    except Damaged:
        return True
