"""What went wrong with a shard, in a file of its own until the shard is made after all."""

import json
import os
import socket
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config import Experiment
from pipeline.errors import Failure, UserError
from pipeline.store import atomic_write


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


def failure_file(experiment: Experiment, stage: str, shard: str) -> Path:
    return experiment.run_directory / "failures" / stage / f"{shard}.json"


def record_failure(experiment: Experiment, stage: str, shard: str, error: Exception) -> FailureRecord:
    expected = isinstance(error, UserError | Failure)
    message = str(error) if expected else f"{type(error).__name__}: {error}"
    record = FailureRecord(
        stage=stage,
        shard=shard,
        message=" ".join(message.split()),
        traceback="" if expected else "".join(traceback.format_exception(error)),
        host=socket.gethostname(),
        process=os.getpid(),
        job_id=os.environ.get("SLURM_JOB_ID", ""),
        time=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        rerun=f"python -m stages.{stage} {experiment.arguments} --shard {shard}",
    )
    content = json.dumps(asdict(record), indent=2).encode()
    atomic_write(failure_file(experiment, stage, shard), lambda temporary: temporary.write_bytes(content))
    return record


def read_failure(experiment: Experiment, stage: str, shard: str) -> FailureRecord | None:
    try:
        return FailureRecord(**json.loads(failure_file(experiment, stage, shard).read_text()))
    except FileNotFoundError:
        return None


def forget_failure(experiment: Experiment, stage: str, shard: str) -> None:
    failure_file(experiment, stage, shard).unlink(missing_ok=True)
