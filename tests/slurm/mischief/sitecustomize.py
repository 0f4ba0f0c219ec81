"""On PYTHONPATH of a test's tasks, this makes shards misbehave as files in the folder $MISCHIEF say, and keeps count.

raise-SHARD    fail, as long as the file is there        kill-SHARD, exit-SHARD    once: SIGKILL, or exit code 0
hold           every shard waits, as long as the file is there
slow           so many seconds before each shard         slow-steps                so many before each training step
made           a line for every shard that was made      stepped                   touched at each training step
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("MISCHIEF", "/nonexistent"))


def seconds_of(name):
    path = FOLDER / name
    return float(path.read_text()) if path.exists() else 0.0


def once(name):
    try:
        (FOLDER / name).unlink()
    except FileNotFoundError:
        return False
    return True


def disturb_shards(execution):
    make_shard = execution.make_shard

    def disturbed(plan, stage, shard, device, progress):
        deadline = time.monotonic() + seconds_of("slow")
        while (left := deadline - time.monotonic()) > 0:  # a signal ends a sleep early where its handler raises
            time.sleep(left)
        while (FOLDER / "hold").exists():
            time.sleep(0.1)
        if (FOLDER / f"raise-{shard}").exists():
            raise ValueError(f"mischief in {shard}")
        if once(f"kill-{shard}"):
            os.kill(os.getpid(), signal.SIGKILL)
        if once(f"exit-{shard}"):
            os._exit(0)
        result = make_shard(plan, stage, shard, device, progress)
        if result:
            with (FOLDER / "made").open("a") as made:
                made.write(f"{stage.name}/{shard}\n")
        return result

    execution.make_shard = disturbed


def slow_steps(checkpoint):
    offer = checkpoint.Checkpoint.offer

    def slow_offer(self, state):
        time.sleep(seconds_of("slow-steps"))
        (FOLDER / "stepped").touch()
        offer(self, state)

    checkpoint.Checkpoint.offer = slow_offer


class Finder(importlib.abc.MetaPathFinder):
    """Changes a module as soon as it is imported."""

    def __init__(self, changes):
        self.changes = changes

    def find_spec(self, name, path, target=None):
        change = self.changes.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change
        return spec


if FOLDER.is_dir():
    sys.meta_path.insert(0, Finder({"stages.execution": disturb_shards, "pipeline.checkpoint": slow_steps}))
