"""What a submitting process leaves for the jobs it submits: plain JSON that a person can read and a job starts from.

runs/<experiment>/slurm/<stage>/<number>.json is one round of one stage. A task is given the path of that file and the
position of its pack, a gate the path alone; pickles carry nothing else.
"""

import contextlib
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.config import Experiment, load
from pipeline.errors import Failure
from pipeline.files import atomic_write
from stages.plan import Plan


@dataclass(frozen=True)
class Chain:
    """What the rounds of all stages share: the command that a person typed, and the fingerprint of its plan."""

    config: str
    overrides: tuple[str, ...]
    cluster: str
    device: str
    only: str | None
    plan: str

    def read(self) -> Plan:
        """The experiment, read again; raises Failure when its file now asks for something else."""
        plan = Plan(load(self.config, self.overrides))
        if plan.fingerprint != self.plan:
            raise Failure(f"{self.config} was changed since this job was submitted; submit what it says now")
        return plan

    @property
    def arguments(self) -> str:
        """As they are typed after `python -m jobs run`."""
        words = [self.config, *(f"--set {shlex.quote(override)}" for override in self.overrides)]
        words += ["--executor slurm", f"--cluster {self.cluster}"]
        words += [f"--device {self.device}"] if self.device != "auto" else []
        return " ".join([*words, *([f"--only {self.only}"] if self.only else [])])


@dataclass(frozen=True)
class Submission:
    """One round of one stage. `mark` tells how far the stage was, `device` what its tasks compute on."""

    chain: Chain
    stage: str
    number: int
    round: int
    mark: str
    device: str
    packs: tuple[tuple[str, ...], ...]


SUBMISSIONS = TypeAdapter(Submission)


def folder(experiment: Experiment, stage: str) -> Path:
    """Submissions of a stage, and all that submitit writes for them."""
    return experiment.run_directory / "slurm" / stage


def next_number(experiment: Experiment, stage: str) -> int:
    stems = (path.stem for path in folder(experiment, stage).glob("[0-9]*.json"))
    return 1 + max((int(stem) for stem in stems if stem.isdecimal()), default=0)


def file_of(experiment: Experiment, stage: str, number: int) -> Path:
    return folder(experiment, stage) / f"{number:04d}.json"


def write_submission(experiment: Experiment, submission: Submission) -> Path:
    path = file_of(experiment, submission.stage, submission.number)
    content = json.dumps(asdict(submission), indent=1).encode()
    atomic_write(path, content)
    return path


def run_directory_of(record: Path) -> Path:
    return record.parents[2]


def read_submission(path: Path) -> Submission:
    """Raises Failure where the file is gone, truncated or no submission."""
    try:
        return SUBMISSIONS.validate_json(path.read_bytes())
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "its JSON"
        raise Failure(f"{path}: is no record of a submission ({where}: {error.errors()[0]['msg']})") from error


def latest_chain(experiment: Experiment) -> Chain | None:
    """The last thing that was submitted for the experiment and can be read."""
    files = list((experiment.run_directory / "slurm").glob("*/[0-9]*.json"))
    for newest in sorted(files, key=_changed, reverse=True):
        with contextlib.suppress(Failure):
            return read_submission(newest).chain
    return None


def _changed(path: Path) -> int:
    return path.lstat().st_mtime_ns
