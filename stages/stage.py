"""What a stage is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config import Experiment
from pipeline.store import Result, Shards

if TYPE_CHECKING:
    import torch

    from pipeline.checkpoint import Checkpoint
    from pipeline.processes import Processes

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Resources:
    """What one shard needs. `threads` is fixed by the stage, since the order of a sum decides its last bits."""

    device: Literal["cpu", "gpu"] = "cpu"
    threads: int = 1
    memory_gb: float = 2.0
    seconds_per_shard: float = 60.0


@dataclass(frozen=True)
class Work:
    """One shard to be made: everything that `run` may look at."""

    experiment: Experiment
    shard: str
    path: Path
    inputs: Mapping[str, Shards]
    device: "torch.device"
    checkpoint: "Checkpoint"
    progress: Progress
    processes: "Processes"


def in_run_directory(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    """A grid's shards carry their fingerprint, so that points share what is the same and keep apart what is not."""
    name = f"{shard}-{fingerprint[:10]}" if experiment.point else shard
    return experiment.shard_directory / stage / f"{name}.h5"


def in_point_directory(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    """Beside files for people, whose names are the same for every point of a grid."""
    return experiment.run_directory / stage / f"{shard}.h5"


def _nothing_to_check(experiment: Experiment) -> None:
    pass


@dataclass(frozen=True)
class Stage:
    """A step of an experiment.

    shards     names of its shards for this experiment; none = the experiment does not need the stage
    inputs     names of the stages it reads; `shadow_models/train` reads only those shards whose names start so
    settings   what the content of a shard depends on besides its inputs; this and the inputs make its fingerprint
    resources  its own defaults, which the experiment's `resources:` may change
    run        makes one shard: arrays, attributes, files
    check      refuses, before any work starts, what would fail later; raises UserError
    location   where a shard lies
    version    raised whenever the same settings come to mean other bytes
    together   whether several processes, one GPU each, can make a shard together
    """

    name: str
    shards: Callable[[Experiment], list[str]]
    inputs: Callable[[Experiment], list[str]]
    settings: Callable[[Experiment, str], dict[str, Any]]
    resources: Callable[[Experiment], Resources]
    run: Callable[[Work], Result]
    check: Callable[[Experiment], None] = _nothing_to_check
    location: Callable[[Experiment, str, str, str], Path] = in_run_directory
    version: int = 1
    together: bool = False
