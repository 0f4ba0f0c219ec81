"""Whole experiments: every executor gives the same bytes, nothing is done twice, nothing is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from operator import attrgetter
from pathlib import Path

import h5py
import numpy as np
import pytest
from distributed import Client, LocalCluster
from rich.console import Console

from jobs.display import Display
from jobs.executors.inline import InlineExecutor
from jobs.failures import read_failure
from jobs.run import carry_through, unfinished
from jobs.scan import scan
from pipeline import ROOT
from pipeline.errors import Failure
from stages import execution, stage_named
from stages.plan import Plan

STAGES = ("shadow_models", "weight_stats", "reconstructor", "min_mse", "roc")


def command(experiment, verb, *more):
    sets = [part for override in experiment.overrides for part in ("--set", override)]
    return [sys.executable, "-m", "jobs", verb, "demo", *sets, *more]


def jobs(experiment, verb, *more):
    return subprocess.run(command(experiment, verb, *more), cwd=ROOT, capture_output=True, text=True, check=False)


def data_sets(experiment, stages=STAGES) -> dict[str, bytes]:
    """Every data set of every shard of the experiment, as bytes."""
    found = {}
    plan = Plan(experiment)
    for name in stages:
        stage = stage_named(name)
        for shard in stage.shards(experiment):
            with h5py.File(plan.path(stage, shard)) as file:
                file.visititems(
                    lambda key, item, at=f"{name}/{shard}": (
                        found.update({f"{at}/{key}": item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
                    )
                )
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny experiment, made inline once."""
    from tests.conftest import TINY, load

    place = tmp_path_factory.mktemp("inline")
    experiment = load("demo", [*TINY, f"paths.runs={place}/runs", f"paths.features={place}/features"])
    done = jobs(experiment, "run", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    return experiment, done.stdout


def test_an_experiment_goes_from_nothing_to_its_report(finished):
    experiment, said = finished
    page = experiment.run_directory / "report" / "index.html"
    assert f"all done; the report: {page}" in " ".join(said.split())
    text = page.read_text()
    assert "data:image/png;base64," in text
    assert "shadow_models" in text
    rows = (page.parent / "rates_conditional.csv").read_text().splitlines()
    assert rows[0].startswith("scope,AUC,AUC low,AUC high,AUC is a bound,TPR at FPR 0.1 %")
    assert len(rows) == 12
    assert len((page.parent / "scores_conditional.csv").read_text().splitlines()) == 1 + 3 * 16 * 10


def test_a_second_run_does_nothing_and_says_so(finished):
    experiment, _ = finished
    before = {path: path.stat().st_mtime_ns for path in experiment.run_directory.rglob("*")}
    done = jobs(experiment, "run")
    assert "nothing to do, every shard is done" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in experiment.run_directory.rglob("*")} == before


def test_shards_say_how_they_were_made(finished):
    experiment, _ = finished
    plan, stage = Plan(experiment), stage_named("shadow_models")
    with h5py.File(plan.path(stage, "train-00002")) as file:
        attributes = dict(file.attrs)
        assert file["indices"].shape == (64, 10)
    assert attributes["fingerprint"] == plan.fingerprints(stage)["train-00002"]
    assert json.loads(attributes["settings"])["training"]["learning_rate"] == 0.01
    assert {"git_commit", "packages", "host", "job_id", "wall_seconds", "device", "threads"} <= attributes.keys()


def test_dask_gives_the_same_bytes_as_inline(finished, tiny):
    experiment, _ = finished
    other = tiny()
    done = jobs(other, "run", "--executor", "dask")
    assert done.returncode == 0, done.stderr
    assert data_sets(other) == data_sets(experiment)


def test_status_and_compare_and_report_read_the_files_alone(finished):
    experiment, _ = finished
    status = jobs(experiment, "status")
    assert "all done" in status.stdout
    report = jobs(experiment, "report")
    assert "0.1 %" in report.stdout
    assert "demo" in jobs(experiment, "compare").stdout


def test_a_changed_rate_redoes_the_reconstructor_and_what_follows(finished, tmp_path):
    experiment, _ = finished
    change = "reconstructor.learning_rate=0.01"
    status = jobs(experiment, "status", "--set", change)
    stale = {line.split()[0] for line in status.stdout.splitlines()[1:10] if " 1 " in line and line.split()[2] == "1"}
    assert {"nearest_neighbour", "weight_stats"} <= stale
    dry = jobs(experiment, "run", "--dry-run", "--set", change)
    *lines, last = dry.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["reconstructor", "min_mse", "roc", "report"]
    assert last.startswith("about ") and last.endswith(" in all, if one shard is made after another")
    assert "1 stale of 1" in dry.stdout


def processes_of(group: int) -> list[int]:
    return [
        int(entry)
        for entry in map(attrgetter("name"), Path("/proc").iterdir())
        if entry.isdigit() and _session(int(entry)) == group
    ]


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def test_killed_at_ten_random_moments_and_resumed_nothing_differs(finished, tiny):
    """`kill -9` of the whole tree, workers and all; then `resume`."""
    experiment, _ = finished
    other = tiny()
    chance = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen(
            command(other, "resume"),
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(1.5, 6))
        for member in processes_of(process.pid):
            os.kill(member, signal.SIGKILL)
        process.wait()
    done = jobs(other, "resume")
    assert done.returncode == 0, done.stderr
    assert data_sets(other) == data_sets(experiment)
    leftovers = [path for path in other.run_directory.rglob("*") if path.suffix in (".tmp", ".checkpoint")]
    assert leftovers == []


def test_a_failing_shard_is_recorded_and_the_others_are_made(tiny, monkeypatch):
    experiment = tiny()
    plan = Plan(experiment)
    make_shard = execution.make_shard

    def stumbling(plan, stage, shard, device, progress):
        if shard == "train-00001":
            raise ValueError("the dog\nate it")
        return make_shard(plan, stage, shard, device, progress)

    def carry_on():
        with InlineExecutor() as executor:
            carry_through(plan, unfinished(plan, None), executor, "cpu", Display(Console(quiet=True)))

    monkeypatch.setattr(execution, "make_shard", stumbling)
    with pytest.raises(Failure, match="1 of 5 shards of shadow_models failed; train-00001: ValueError: the dog ate it"):
        carry_on()
    states = {state.stage.name: state for state in scan(plan)}
    assert states["shadow_models"].todo == ["train-00001"]
    assert states["shadow_models"].failed == ("train-00001",)
    assert len(states["weight_stats"].todo) == 1
    record = read_failure(experiment, "shadow_models", "train-00001")
    assert record.rerun.startswith("python -m stages.shadow_models config_data/demo.yml --set")
    logs = jobs(experiment, "logs", "shadow_models", "train-00001")
    assert "train-00001  failed: ValueError" in logs.stdout
    assert 'raise ValueError("the dog' in logs.stdout
    monkeypatch.setattr(execution, "make_shard", make_shard)
    carry_on()
    assert not any(state.todo or state.failed for state in scan(plan))
    assert read_failure(experiment, "shadow_models", "train-00001") is None


def test_a_truncated_input_is_named_kept_aside_and_made_again(tiny):
    experiment = tiny()
    first = jobs(experiment, "run", "--executor", "inline", "--only", "deep_features")
    assert first.returncode == 0, first.stderr
    plan, stage = Plan(experiment), stage_named("deep_features")
    path = plan.path(stage, "mnist_digits-test")
    before = data_of(path)
    path.write_bytes(path.read_bytes()[:5000])
    refused = jobs(experiment, "run", "--executor", "inline", "--only", "shadow_models")
    assert refused.returncode == 1
    assert "deep_features: 1 of 2 shards are not done (first: mnist_digits-test, damaged)" in refused.stderr
    again = jobs(experiment, "run", "--executor", "inline", "--only", "deep_features")
    assert "1 damaged of 2" in again.stdout
    assert data_of(path) == before
    assert path.with_name(path.name + ".damaged-0").stat().st_size == 5000


def data_of(path) -> dict[str, bytes]:
    with h5py.File(path) as file:
        return {name: np.asarray(file[name]).tobytes() for name in file}


@pytest.mark.parametrize(
    ("verb", "more", "said"),
    [
        ("run", ["--executor", "slurm"], "needs --cluster FILE; in config_data/clusters/ there are: default, example"),
        ("run", ["--executor", "cloud"], "'cloud' is not one of 'inline', 'dask', 'slurm'"),
        ("run", ["--only", "training"], "there is no stage training; the stages are pretrain"),
        ("run", ["--only", "pretrain"], "has nothing for this stage"),
        ("run", ["--set", "shadow_models.models_per_seed=5000"], "deal at most 702 models"),
        ("run", ["--set", "paths.runs=/proc/nowhere"], "paths.runs: /proc/nowhere/demo cannot be written"),
        ("run", ["--scheduler", "tcp://127.0.0.1:1", "--executor", "inline"], "--scheduler goes with --executor dask"),
        ("logs", ["training"], "there is no stage training"),
        ("logs", ["roc"], "nothing was logged of roc"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tiny, verb, more, said):
    done = jobs(tiny(), verb, *more)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_scheduler_that_does_not_answer_is_one_line(tiny):
    done = jobs(tiny(), "run", "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert "no Dask scheduler answers there" in done.stderr.splitlines()[-1]


def test_a_running_scheduler_is_used_and_left_running(tiny):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        done = jobs(tiny(), "run", "--only", "nearest_neighbour", "--scheduler", address)
        assert done.returncode == 0, done.stderr
        with Client(address) as client:
            assert len(client.nthreads()) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs more rights than this test has")
    yield place
    subprocess.run(["umount", "--lazy", place], check=False)


def test_a_full_disk_is_one_line_and_room_for_more_finishes_the_run(tiny, small_disk):
    experiment = tiny(f"paths.runs={small_disk}", "shadow_models.models_per_seed=200")
    done = jobs(experiment, "run", "--executor", "inline")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(small_disk.rglob("*.tmp"))
    kept = data_of(Plan(experiment).path(stage_named("nearest_neighbour"), "threshold"))
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    again = jobs(experiment, "resume", "--executor", "inline")
    assert again.returncode == 0, again.stderr
    assert data_of(Plan(experiment).path(stage_named("nearest_neighbour"), "threshold")) == kept


def test_a_grid_runs_all_its_points_and_makes_shared_shards_once(tiny, tmp_path):
    study = tmp_path / "study.yml"
    demo = ROOT / "config_data" / "demo.yml"
    study.write_text(f"extends: {demo}\ngrid: {{reconstructor.learning_rate: [1e-3, 1e-2]}}\n")
    sets = [part for override in tiny().overrides for part in ("--set", override)]

    def study_jobs(verb, *more):
        whole = [sys.executable, "-m", "jobs", verb, str(study), *sets, *more]
        return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)

    refused = study_jobs("run", "--executor", "slurm", "--cluster", "default")
    assert refused.returncode == 2
    shared = "baselines, deep_features, nearest_neighbour, shadow_models"
    assert f"points share unfinished shards of {shared}" in refused.stderr
    done = study_jobs("run", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "runs" / "study"
    assert len(list((runs / "shadow_models").glob("*.h5"))) == 5
    assert len(list((runs / "reconstructor").glob("*.h5"))) == 2
    assert (runs / "points" / "learning_rate=0.001" / "report" / "index.html").exists()
    assert study_jobs("compare").stdout.count("study: learning_rate=") == 2
    assert "nothing to do" in study_jobs("run").stdout
    assert study_jobs("status").stdout.count("all done") == 2
