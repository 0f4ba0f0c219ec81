"""In this process, one shard after another: for debugging and single shards."""

from collections.abc import Callable

from jobs.worker import Pack, Report, work_through
from stages.stage import Resources


class InlineExecutor:
    def __enter__(self) -> "InlineExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def carry_out(self, pack: Pack, resources: Resources, tell: Callable[[Report], None]) -> None:
        work_through(pack, tell)
