"""What a task on the cluster runs: one pack of shards, by the same function as on every other executor."""

import signal
from pathlib import Path

from jobs.slurm.submission import read_submission
from jobs.worker import Pack, work_through
from pipeline.errors import Failure
from pipeline.interruption import listen


def run_pack(record: str, position: int) -> None:
    """Make the shards of one pack; raises Failure at the end when some failed, so that SLURM calls the task failed too.

    The handlers replace submitit's own, which ignore SIGTERM and raise inside the work at a warning signal.
    """
    listen(signal.SIGTERM, signal.SIGUSR2)
    submission = read_submission(Path(record))
    shards = submission.packs[position]
    pack = Pack(submission.chain.read().experiment, submission.stage, shards, submission.device)
    failed = work_through(pack, lambda report: None)
    if failed:
        raise Failure(f"{len(failed)} of {len(shards)} shards failed: {', '.join(failed[:5])}")
