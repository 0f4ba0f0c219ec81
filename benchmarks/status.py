"""How long the state of 2,000 shards takes to read, and what part of it is opening 2,000 HDF5 files at all.

Run: python -m benchmarks.status
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from pipeline import ROOT
from pipeline.config import load
from pipeline.store import Result, write_shard
from stages import stage_named
from stages.plan import Plan

SHARDS, REPEATS = 2000, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        overrides = [f"paths.runs={directory}", f"shadow_models.seeds={SHARDS - 1}"]
        plan, stage = Plan(load("demo", overrides)), stage_named("shadow_models")
        for shard, expected in plan.fingerprints(stage).items():
            weights = Result({"weights": np.zeros((8, 2570), np.float32)})
            write_shard(plan.path(stage, shard), weights, expected, {"wall_seconds": 1.0, "device": "cpu"})
        command = [sys.executable, "-m", "jobs", "status", "demo"]
        for override in overrides:
            command += ["--set", override]
        files = list((Path(directory) / "demo" / "shadow_models").iterdir())
        ours, floor = [], []
        for _ in range(REPEATS):
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            for file in files:
                h5py.File(file, "r", locking=False).close()
            floor.append(time.perf_counter() - started)
    taken, least = statistics.median(ours), statistics.median(floor)
    print(
        f"status of {SHARDS} shards: {taken:.2f} s; opening the files alone: {least:.2f} s; ratio {taken / least:.2f}"
    )


if __name__ == "__main__":
    main()
