"""Is anything lost when the whole tree of processes is killed, again and again, at random moments?

    python -m benchmarks.kills --kills 20

An experiment with an imported shard, checkpoints and four stages goes on under Dask and is killed with -9, everything
at once, after a random time, and started again; then it is left to end. Its data sets must be those of a run that
nobody disturbed, and nothing may be left behind: no lock, no temporary, no checkpoint, no process.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil

from pipeline import ROOT
from pipeline.config import load
from pipeline.store import read_arrays
from stages import stage_named
from stages.plan import Plan

OVERRIDES = (
    "shadow_models.seeds=3",
    "shadow_models.models_per_seed=64",
    "shadow_models.test_models=16",
    "reconstructor.width=2",
    "reconstructor.steps=300",
    "reconstructor.batch_size=16",
    "reconstructor.validate_every=20",
    "reconstructor.threads=1",
    "evaluation.bootstraps=20",
    "evaluation.sheet_victims=2",
)
IMPORTED = "shadow_models/train-00000"


class Trial:
    """The experiment in a directory of its own, by the command line."""

    def __init__(self, place: Path):
        self.places = (f"paths.runs={place / 'runs'}", f"paths.features={place / 'features'}")
        self.plan = Plan(load("demo", [*OVERRIDES, *self.places]))

    def started(self, verb: str, *more: str) -> subprocess.Popen:
        sets = [part for override in (*OVERRIDES, *self.places) for part in ("--set", override)]
        command = [sys.executable, "-m", "jobs", verb, "demo", *more, *sets]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def done(self, verb: str, *more: str) -> float:
        """Seconds that it took; raises where it did not go well."""
        began = time.monotonic()
        process = self.started(verb, *more)
        said = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"{verb} ended with {process.returncode}: {said}")
        return time.monotonic() - began

    def results(self) -> dict[str, bytes]:
        """Every data set of every stage but the report."""
        return {
            f"{stage.name}/{shard}/{name}": array.tobytes()
            for stage in self.plan.stages
            if stage.name != "report"
            for shard in stage.shards(self.plan.experiment)
            for name, array in read_arrays(self.plan.path(stage, shard)).items()
        }

    def left_behind(self) -> list[str]:
        files = self.plan.experiment.run_directory.rglob("*")
        return [
            str(path)
            for path in files
            if path.name == "lock" or path.suffix in (".tmp", ".checkpoint") or ".damaged-" in path.name
        ]


def kill_tree(process: subprocess.Popen) -> None:
    """Everything at once: stopped first, so that nobody sees another die."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for member in tree:
            if member.is_running():
                os.kill(member.pid, number)
    process.communicate()
    psutil.wait_procs(tree)


@click.command(help=__doc__.splitlines()[0])
@click.option("--kills", default=20, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(kills: int, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        calm, killed = Trial(Path(name) / "calm"), Trial(Path(name) / "killed")
        shadow = stage_named("shadow_models")
        weights = Path(name) / "weights.npy"
        calm.done("run", "--executor", "inline", "--only", "deep_features")
        calm.done("run", "--executor", "inline", "--only", "shadow_models")
        np.save(weights, read_arrays(calm.plan.path(shadow, "train-00000"), "weights")["weights"])
        calm.done("import", IMPORTED, str(weights), "--replace")
        whole = calm.done("run")
        hit = 0
        for _ in range(kills):
            imports = draw.random() < 0.25
            process = killed.started("run") if not imports else killed.started("import", IMPORTED, str(weights))
            time.sleep(draw.uniform(0, whole))
            if process.poll() is None:
                hit += 1
                kill_tree(process)
            else:
                process.communicate()
        killed.done("import", IMPORTED, str(weights), "--replace")
        killed.done("run")
        same = killed.results() == calm.results()
        left = killed.left_behind()
    print(f"{hit} of {kills} kills met the run at work")
    print(f"results: {'bit-identical' if same else 'DIFFERENT'}; left behind: {', '.join(left) or 'nothing'}")
    raise SystemExit(not same or bool(left))


if __name__ == "__main__":
    main()
