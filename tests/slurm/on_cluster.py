"""A tiny experiment on the test cluster: submit it, disturb it, wait for it, count what its tasks made."""

import subprocess
import time
from collections import Counter
from pathlib import Path

import yaml

from jobs.scan import StageState, scan
from jobs.slurm.queue import QueuedJob, queued_jobs
from pipeline import ROOT
from pipeline.config import load
from stages.plan import Plan
from tests.conftest import TINY
from tests.jobs.test_jobs import jobs

HERE = Path(__file__).parent
SHARDS = 200
STUCK_SECONDS = 1800.0
MANY = (f"shadow_models.seeds={SHARDS - 2}", "resources.shadow_models.seconds_per_shard=50")
FAILING = ("train-00011", "train-00111", "train-00197")


def shell(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


class OnCluster:
    """A tiny experiment with its own run directory, cluster file and mischief."""

    def __init__(self, folder: Path, features: Path, *overrides: str, site: dict | None = None):
        self.mischief = folder / "mischief"
        self.mischief.mkdir(parents=True)
        self.site = folder / "site.yml"
        setup = [f"export MISCHIEF={self.mischief}", f"export PYTHONPATH={HERE / 'mischief'}"]
        content = {"task_minutes": 10, "memory_gb": 1, "setup": setup, **(site or {})}
        self.site.write_text(yaml.safe_dump(content))
        paths = [f"paths.runs={folder / 'runs'}", f"paths.features={features}", f"name={folder.name}"]
        self.experiment = load("demo", [*TINY, "shadow_models.models_per_seed=8", *paths, *overrides])
        self.plan = Plan(self.experiment)

    def jobs(self, verb: str, *more: str) -> str:
        """Run a command that should go well; returns what it said, on one line."""
        done = jobs(self.experiment, verb, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def submit(self, *more: str, verb: str = "run") -> str:
        return self.jobs(verb, "--executor", "slurm", "--cluster", str(self.site), *more)

    def misbehave(self, name: str, content: str = "") -> Path:
        path = self.mischief / name
        path.write_text(content)
        return path

    def queue(self) -> list[QueuedJob]:
        return queued_jobs(self.experiment.run_directory)

    def tasks(self, state: str | None = None) -> list[QueuedJob]:
        return [job for job in self.queue() if not job.is_gate and state in (None, job.state)]

    def state(self, stage: str) -> StageState:
        return next(state for state in scan(self.plan) if state.stage.name == stage)

    def made(self) -> Counter:
        """How often every shard was made, by the tasks' own count."""
        path = self.mischief / "made"
        return Counter(path.read_text().split() if path.exists() else [])

    def wait_for(self, what):
        """`what()`, as soon as it is true; after STUCK_SECONDS, which no machine is so slow as to need, an error."""
        deadline = time.monotonic() + STUCK_SECONDS
        while not (found := what()):
            assert time.monotonic() < deadline, self.jobs("status") + f" {[(j.id, j.state) for j in self.queue()]}"
            time.sleep(0.5)
        return found

    def wait_until_left_alone(self) -> None:
        """Until none of its jobs is queued or running; between a gate and what it submits there is no gap."""
        self.wait_for(lambda: not self.queue())
