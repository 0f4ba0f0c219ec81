"""A search as jobs: 32 trials on Dask, killed and resumed, to the bits of one process."""

import os
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from jobs.display import Display
from jobs.executors.inline import InlineExecutor
from jobs.run import carry_through, unfinished
from pipeline import ROOT
from pipeline.config import load
from pipeline.store import read_arrays
from stages import stage_named
from stages.plan import Plan
from tests.jobs.test_jobs import processes_of

SEARCH = (
    "kkt.victim.network={hidden: [60, 60]}",
    "kkt.attack.candidates=24",
    "kkt.attack.iterations=600",
    "kkt.attack.stack=4",
    "kkt.search.trials=32",
    "kkt.search.ranges={learning_rate: {log_uniform: [0.001, 0.1]}, relu_sharpness: {uniform: [10, 500]}}",
    "kkt.search.halve_at=[200]",
)
STAGES = ("kkt_victim", "kkt_attack")


@pytest.fixture
def search(tmp_path):
    return lambda place: load("kkt_red_blue", [*SEARCH, f"paths.runs={tmp_path / place}"])


def contents(experiment) -> dict[str, bytes]:
    plan = Plan(experiment)
    return {
        f"{shard}/{name}": array.tobytes()
        for stage in map(stage_named, STAGES)
        for shard in stage.shards(experiment)
        for name, array in read_arrays(plan.path(stage, shard)).items()
    }


def inline(experiment, stage) -> None:
    plan = Plan(experiment)
    with InlineExecutor() as executor:
        carry_through(plan, unfinished(plan, stage), executor, "cpu", Display(Console(quiet=True)))


def test_killed_and_resumed_on_dask_it_is_the_search_of_one_process(search):
    whole, torn = search("whole"), search("torn")
    inline(whole, "kkt_victim")
    inline(whole, "kkt_attack")
    inline(torn, "kkt_victim")
    sets = [part for override in torn.overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "jobs", "run", "kkt_red_blue", *sets, "--executor", "dask", "--only", "kkt_attack"]
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    attack, plan = stage_named("kkt_attack"), Plan(torn)
    while process.poll() is None and not plan.path(attack, "trials-00000").exists():
        time.sleep(0.2)
    for member in processes_of(process.pid):
        os.kill(member, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(torn) == contents(whole)
    assert len(attack.shards(whole)) == 8
