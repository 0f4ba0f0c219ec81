"""How the shards of a stage become tasks: packs that fill a task's time, and the arrays that hold the packs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

START_UP_MINUTES = 10


@dataclass(frozen=True)
class Packing:
    """`minutes` is the time limit that a task asks for."""

    packs: tuple[tuple[str, ...], ...]
    minutes: int

    def arrays(self, max_array_size: int) -> list[range]:
        """Positions of the packs in each array: as many to an array as the cluster takes."""
        starts = range(0, len(self.packs), max_array_size)
        return [range(start, min(start + max_array_size, len(self.packs))) for start in starts]


def pack(shards: Sequence[str], seconds_per_shard: float, task_minutes: int, time_limit_minutes: int | None) -> Packing:
    """Packs of equal length that take about `task_minutes`; a task asks for twice its estimate and the start-up.

    A shard longer than the cluster's limit gets the limit: it goes on from its checkpoint in the next round.
    """
    target = 60 * min(task_minutes, time_limit_minutes or task_minutes)
    fitting = max(1, int(target / seconds_per_shard))
    count = math.ceil(len(shards) / fitting)
    size = math.ceil(len(shards) / count)
    minutes = START_UP_MINUTES + math.ceil(2 * size * seconds_per_shard / 60)
    return Packing(
        packs=tuple(tuple(shards[start : start + size]) for start in range(0, len(shards), size)),
        minutes=min(minutes, time_limit_minutes or minutes),
    )
