"""What went wrong with a shard, in a file of its own until the shard is made after all."""

import contextlib
import json
import os
import socket
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.config import Experiment
from pipeline.errors import Failure, UserError
from pipeline.files import atomic_write


@dataclass(frozen=True)
class FailureRecord:
    """`message` is one line; `rerun` the command that tries the shard again, here, alone."""

    stage: str
    shard: str
    message: str
    traceback: str
    host: str
    process: int
    job_id: str
    time: str
    rerun: str


RECORDS = TypeAdapter(FailureRecord)


def failure_file(experiment: Experiment, stage: str, shard: str) -> Path:
    return experiment.run_directory / "failures" / stage / f"{shard}.json"


def gate_failure_file(run_directory: Path, stage: str) -> Path:
    """Of a job that was to submit what comes after the tasks of `stage` (jobs/slurm/gate.py)."""
    return run_directory / "failures" / "gates" / f"{stage}.json"


def record_failure(experiment: Experiment, stage: str, shard: str, error: Exception) -> FailureRecord:
    rerun = f"python -m stages.{stage} {experiment.arguments} --shard {shard}"
    return write_failure(failure_file(experiment, stage, shard), stage, shard, error, rerun)


def record_lost(experiment: Experiment, stage: str, shards: Iterable[str], why: str) -> None:
    """For shards that were worked on and left neither a result nor a record."""
    for shard in shards:
        if not failure_file(experiment, stage, shard).exists():
            record_failure(experiment, stage, shard, Failure(why))


def write_failure(path: Path, stage: str, shard: str, error: Exception, rerun: str) -> FailureRecord:
    """What can not even be written, on a full disk, is lost: the shard is missing all the same."""
    expected = isinstance(error, UserError | Failure)
    message = str(error) if expected else f"{type(error).__name__}: {error}"
    record = FailureRecord(
        stage=stage,
        shard=shard,
        message=" ".join(message.split()),
        traceback="" if expected else "".join(traceback.format_exception(error)),
        host=socket.gethostname(),
        process=os.getpid(),
        job_id=job_id(),
        time=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        rerun=rerun,
    )
    content = json.dumps(asdict(record), indent=2).encode()
    with contextlib.suppress(Failure):
        atomic_write(path, content)
    return record


def job_id() -> str:
    """Of the SLURM job that this process belongs to, as squeue and sacct write it; empty outside one."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "")


def read_failure(experiment: Experiment, stage: str, shard: str) -> FailureRecord | None:
    return read_record(failure_file(experiment, stage, shard))


def read_record(path: Path) -> FailureRecord | None:
    """The record in a file, if it is one; a truncated or foreign one tells nothing. The shard is missing anyway."""
    try:
        return RECORDS.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def forget_failure(experiment: Experiment, stage: str, shard: str) -> None:
    with contextlib.suppress(OSError):  # done is done, whatever stays beside it
        failure_file(experiment, stage, shard).unlink()
