"""Tests on a real SLURM, the one that tests/slurm/up.sh brings up; skipped where it is not there."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline import ROOT
from tests.jobs.test_jobs import command, jobs
from tests.slurm.on_cluster import FAILING, HERE, MANY, OnCluster, shell


def why_not() -> str | None:
    try:
        found = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=20, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return "there is no SLURM here; tests/slurm/up.sh brings one up"
    if not re.search(r"^ClusterName\s*= tests$", found.stdout, re.MULTILINE):
        return "the SLURM here is not the one of tests/slurm/up.sh"
    return None


def pytest_collection_modifyitems(items):
    ours = [item for item in items if HERE in item.path.parents]
    reason = why_not() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.slurm)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def features(tmp_path_factory) -> Path:
    """Features that all experiments here share, made once."""
    place = tmp_path_factory.mktemp("features")
    maker = OnCluster(place / "maker", place)
    maker.jobs("run", "--executor", "inline", "--only", "deep_features")
    return place


@pytest.fixture(scope="session")
def session_cluster(tmp_path_factory, features):
    """Makes experiments that several tests look at, or that go on while other tests run."""
    return lambda name, *overrides, **site: OnCluster(tmp_path_factory.mktemp(name), features, *overrides, site=site)


@pytest.fixture
def on_cluster(tmp_path, features):
    """Makes a test's own experiment; its jobs are ended with the test."""
    made = []

    def make(*overrides: str, name: str = "own", **site) -> OnCluster:
        made.append(OnCluster(tmp_path / name, features, *overrides, site=site))
        return made[-1]

    yield make
    for experiment in made:
        jobs(experiment.experiment, "cancel")


@pytest.fixture(scope="session", autouse=True)
def under_way(session_cluster):
    """The three experiments that take longest: they go on while other tests run.

    One goes to its report although a worker is killed, one exits without a result and one is cancelled; of another,
    three shards fail; the third has tasks of two minutes.
    """
    to_the_report = session_cluster("report", *MANY)
    to_the_report.misbehave("slow", "0.5")
    to_the_report.misbehave("kill-train-00025")
    to_the_report.misbehave("exit-train-00055")
    process = subprocess.Popen(
        command(to_the_report.experiment, "run", "--executor", "slurm", "--cluster", str(to_the_report.site)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = process.communicate()[0]
    assert process.returncode == 0
    running = to_the_report.wait_for(
        lambda: [job for job in to_the_report.tasks("RUNNING") if job.name.stage == "shadow_models"]
    )
    shell("scancel", running[-1].id)

    failing = session_cluster("failing", *MANY, "resources.shadow_models.seconds_per_shard=30")
    for shard in FAILING:
        failing.misbehave(f"raise-{shard}")
    failing.submit("--only", "shadow_models")

    limited = session_cluster("limited", "shadow_models.seeds=13", time_limit_minutes=2, warning_seconds=15)
    limited.misbehave("slow", "8")
    limited.submit("--only", "shadow_models")

    return {"report": to_the_report, "said": said, "failing": failing, "limited": limited}
