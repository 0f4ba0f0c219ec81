"""How an experiment stands, read off its files alone."""

import os
from dataclasses import dataclass

from jobs.failures import failure_file
from pipeline.store import Standing, State
from stages.plan import Plan
from stages.stage import Stage


@dataclass(frozen=True)
class StageState:
    """Where every shard of a stage stands, and which of the unfinished ones failed when they were last tried."""

    stage: Stage
    shards: dict[str, Standing]
    failed: tuple[str, ...]

    @property
    def todo(self) -> list[str]:
        return [shard for shard, found in self.shards.items() if found.state != "done"]

    def count(self, state: State) -> int:
        return sum(found.state == state for found in self.shards.values())

    def seconds(self, gpu: bool) -> float:
        """Wall time that the finished shards took, on GPUs or on CPUs."""
        return sum(found.wall_seconds for found in self.shards.values() if (found.device != "cpu") == gpu)

    @property
    def mean_seconds(self) -> float | None:
        """Wall time of a finished shard."""
        taken = [found.wall_seconds for found in self.shards.values() if found.state == "done"]
        return sum(taken) / len(taken) if taken else None


def scan(plan: Plan) -> list[StageState]:
    """Every stage of the experiment, each after those it reads."""
    return [scan_stage(plan, stage) for stage in plan.stages]


def scan_stage(plan: Plan, stage: Stage) -> StageState:
    shards = plan.standings(stage)
    unfinished = (shard for shard, found in shards.items() if found.state != "done")
    # not Path.exists, which raises where a name is too long
    failed = tuple(s for s in unfinished if os.path.exists(failure_file(plan.experiment, stage.name, s)))  # noqa: PTH110
    return StageState(stage, shards, failed)
