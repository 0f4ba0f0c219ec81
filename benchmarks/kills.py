"""Is anything lost when the whole tree of processes is killed, again and again, at random moments?

    python -m benchmarks.kills --kills 20

An experiment with an imported shard, checkpoints and four stages goes on under Dask and is killed with -9, everything
at once, after a random time, and started again, until so many kills met it at work; where it came to the end, a stage
is undone with all that follow. Then it is left to end. Its data sets must be those of a run that nobody disturbed,
and nothing may be left behind: no lock, no temporary, no checkpoint, no process.
"""

import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil

from benchmarks.trial import Trial
from pipeline.store import read_arrays
from stages import stage_named

IMPORTED = "shadow_models/train-00000"


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
        hit = starts = 0
        while hit < kills and starts < 10 * kills:
            starts += 1
            imports = draw.random() < 0.25
            process = killed.started("run") if not imports else killed.started("import", IMPORTED, str(weights))
            time.sleep(draw.uniform(0, whole))
            if process.poll() is None:
                hit += 1
                kill_tree(process)
            else:
                process.communicate()
                killed.undo_from(draw.choice(("shadow_models", "head_inversion", "reconstructor")))
        killed.done("import", IMPORTED, str(weights), "--replace")
        killed.done("run")
        same = killed.results() == calm.results()
        left = killed.left_behind()
    print(f"{hit} kills met a run at work, of {starts} starts")
    print(f"results: {'bit-identical' if same else 'DIFFERENT'}; left behind: {', '.join(left) or 'nothing'}")
    raise SystemExit(not same or bool(left) or hit < kills)


if __name__ == "__main__":
    main()
