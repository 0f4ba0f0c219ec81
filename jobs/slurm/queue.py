"""What SLURM is asked: which of an experiment's jobs are still there, how long an array may be, to cancel jobs.

The answers are hints. Jobs are recognised by their names, since ids are reused and forgotten; what is done, only files
say.
"""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Experiment
from pipeline.errors import Failure
from pipeline.fingerprint import fingerprint

ANSWER_SECONDS = 20.0
LINE = re.compile(r"([0-9]+(?:_[0-9]+)?)\|([A-Z_]+)\|(.+)\.(\w+)\.([0-9]+)\.([0-9]+|gate|dask)\.(\w+)")
"""Of squeue, as it is asked below: job, state, and the parts of a JobName."""


@dataclass(frozen=True)
class JobName:
    """`part` is the first pack of an array, `gate` or `dask` (a worker); `directory` a digest of the run directory."""

    experiment: str
    stage: str
    number: int
    part: str
    directory: str

    @classmethod
    def of(cls, experiment: Experiment, stage: str, number: int, part: str) -> "JobName":
        return cls(experiment.name, stage, number, part, directory_mark(experiment.run_directory))

    def __str__(self) -> str:
        return f"{self.experiment}.{self.stage}.{self.number}.{self.part}.{self.directory}"


@dataclass(frozen=True)
class QueuedJob:
    """One job or one element of an array, queued or running."""

    id: str
    state: str
    name: JobName

    @property
    def is_gate(self) -> bool:
        return self.name.part == "gate"

    @property
    def running(self) -> bool:
        return self.state not in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING")

    @property
    def pack(self) -> int:
        """Which pack of its submission it works through."""
        element = self.id.partition("_")[2]
        return int(self.name.part) + int(element or 0)


def directory_mark(run_directory: Path) -> str:
    return fingerprint(str(run_directory))[:10]


def queued_jobs(run_directory: Path, answer_seconds: float = ANSWER_SECONDS) -> list[QueuedJob]:
    """This user's jobs that belong to the experiment in `run_directory`; raises Failure when SLURM does not answer."""
    listed = _ask(["squeue", "--me", "--array", "--noheader", "--format=%i|%T|%j"], answer_seconds)
    mine, jobs = directory_mark(run_directory), []
    for line in listed.splitlines():  # a site's own lines, and others' names, stand among them
        if found := LINE.fullmatch(line):
            job, state, experiment, stage, number, part, directory = found.groups()
            if directory == mine:
                jobs.append(QueuedJob(job, state, JobName(experiment, stage, int(number), part, directory)))
    return jobs


def wait_for_answer(seconds: float) -> None:
    """Return once SLURM's controller answers, which may be restarting; raises Failure when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            _ask(["squeue", "--me", "--noheader"])
            return
        except Failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(5)


def max_array_size() -> int:
    """How many elements an array may have here: indices run from 0 to one below MaxArraySize."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask(["scontrol", "show", "config"]), re.MULTILINE)
    if not found:
        raise Failure("scontrol show config does not say MaxArraySize")
    return max(1, int(found[1]))


def cancel(jobs: Sequence[QueuedJob]) -> None:
    """Gates first, or they resubmit what the others leave unfinished."""
    for kind in (True, False):
        if ids := sorted({job.id.partition("_")[0] for job in jobs if job.is_gate == kind}):
            _ask(["scancel", *ids])


def forget_surrounding_job() -> None:
    """Inside a job, or an interactive allocation, its variables would shape the jobs that it submits."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_")) and name != "SLURM_CONF":
            del os.environ[name]


def _ask(command: list[str], answer_seconds: float = ANSWER_SECONDS) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=answer_seconds, check=True
        )
    except FileNotFoundError:
        raise Failure(f"there is no SLURM here: {command[0]} is not to be found") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"SLURM does not answer: {command[0]} took more than {answer_seconds:g} s") from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"{command[0]}: {' '.join(error.stderr.split()) or f'exit code {error.returncode}'}") from None
    return done.stdout
