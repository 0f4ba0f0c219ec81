"""The main job at its smallest, in a directory of its own and by its command line: for benchmarks that disturb it."""

import subprocess
import sys
import time
from pathlib import Path

from pipeline import ROOT
from pipeline.config import load
from pipeline.store import read_arrays
from stages.plan import Plan

OVERRIDES = (
    "shadow_models.seeds=3",
    "shadow_models.models_per_seed=64",
    "shadow_models.test_models=16",
    "reconstructor.width=32",
    "reconstructor.steps=300",
    "reconstructor.batch_size=16",
    "reconstructor.validate_every=20",
    "reconstructor.threads=1",
    "reconstructor.precision=float32",
    "head_inversion.augmentation.copies=1",
    "head_inversion.rounds=2",
    "head_inversion.width=8",
    "head_inversion.steps=60",
    "head_inversion.batch_size=16",
    "head_inversion.threads=1",
    "evaluation.bootstraps=20",
    "evaluation.sheet_victims=2",
)


class Trial:
    """The experiment in a directory of its own, by the command line."""

    def __init__(self, place: Path):
        self.place = place
        self.places = (f"paths.runs={place / 'runs'}", f"paths.features={place / 'features'}")
        self.experiment = load("demo", [*OVERRIDES, *self.places])

    @property
    def plan(self) -> Plan:
        """As the files are now: what was imported is part of it."""
        return Plan(self.experiment)

    def started(self, verb: str, *more: str) -> subprocess.Popen:
        sets = [part for override in (*OVERRIDES, *self.places) for part in ("--set", override)]
        command = [sys.executable, "-m", "jobs", verb, "demo", *more, *sets]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def done(self, verb: str, *more: str, code: int = 0) -> float:
        """Seconds that it took; raises where it did not end as it should."""
        began = time.monotonic()
        process = self.started(verb, *more)
        said = process.communicate()[1]
        if process.returncode != code:
            raise SystemExit(f"{verb} ended with {process.returncode} where {code} is due: {said}")
        return time.monotonic() - began

    def undo_from(self, first: str) -> None:
        """Remove the finished shards of a stage and of all after it, so that there is work; imported ones stay."""
        names = [stage.name for stage in self.plan.stages]
        for name in names[names.index(first) :]:
            for path in (self.experiment.run_directory / name).glob("*.h5"):
                path.unlink()

    def results(self) -> dict[str, bytes]:
        """Every data set of every stage but the report."""
        plan = self.plan
        return {
            f"{stage.name}/{shard}/{name}": array.tobytes()
            for stage in plan.stages
            if stage.name != "report"
            for shard in stage.shards(self.experiment)
            for name, array in read_arrays(plan.path(stage, shard)).items()
        }

    def left_behind(self) -> list[str]:
        files = self.place.rglob("*")
        return [
            str(path)
            for path in files
            if path.name == "lock" or path.suffix in (".tmp", ".checkpoint") or ".damaged-" in path.name
        ]
