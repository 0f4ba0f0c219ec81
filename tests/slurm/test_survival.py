"""Whatever happens to tasks, gates and disks: nothing is lost, and nothing that was complete is done twice."""

import subprocess
from collections import Counter

import pytest

from jobs.failures import read_failure
from tests.jobs.test_jobs import data_sets
from tests.slurm.on_cluster import FAILING, MANY, SHARDS, shell


def trained(shards) -> Counter:
    return Counter(f"shadow_models/{shard}" for shard in shards)


def test_killed_emptied_and_cancelled_tasks_are_survived_to_the_same_report_as_inline(under_way, session_cluster):
    """With the submitting process gone; one worker fell to SIGKILL, one exited 0 without a result, one to scancel."""
    ran = under_way["report"]
    assert "You may log out." in under_way["said"]
    inline = session_cluster("inline", *MANY, f"name={ran.experiment.name}")
    inline.jobs("run", "--executor", "inline")
    ran.wait_until_left_alone()
    assert "all done; the report" in ran.jobs("status")
    assert data_sets(ran.experiment) == data_sets(inline.experiment)
    assert [name for name in ("kill-train-00025", "exit-train-00055") if (ran.mischief / name).exists()] == []
    made = ran.made()
    assert {shard: times for shard, times in made.items() if times > 1} == {}
    others = len(ran.plan.stages) - 2  # a shard each, but for the deep features, which were there
    assert len(made) == SHARDS + others
    assert list(ran.experiment.run_directory.rglob("*.tmp")) == []


def test_three_failing_shards_leave_197_and_resume_after_the_fix_does_exactly_three(under_way):
    failing = under_way["failing"]
    failing.wait_until_left_alone()
    state = failing.state("shadow_models")
    assert state.failed == FAILING
    assert state.todo == list(FAILING)
    assert failing.made() == trained(set(state.shards) - set(FAILING))
    record = read_failure(failing.experiment, "shadow_models", FAILING[0])
    assert record.message == "ValueError: mischief in train-00011"
    assert "disturbed" in record.traceback
    assert record.rerun.startswith("python -m stages.shadow_models config_data/demo.yml --set")
    assert record.job_id
    assert "mischief in train" in failing.jobs("status")
    assert "train-00011 failed: ValueError" in failing.jobs("logs", "shadow_models", "train-00011")

    for shard in FAILING:
        (failing.mischief / f"raise-{shard}").unlink()
    before = {path: path.stat().st_mtime_ns for path in failing.experiment.run_directory.glob("shadow_models/*.h5")}
    said = failing.submit("--only", "shadow_models", verb="resume")
    assert "submitted: 3 shards" in said
    failing.wait_until_left_alone()
    assert failing.made() == trained(state.shards)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert "3 shards" not in failing.jobs("status")


def test_a_time_limit_in_mid_pack_loses_nothing(under_way):
    """15 shards of 8 s do not fit in two minutes; a start does, on a machine that is busy with much else."""
    limited = under_way["limited"]
    limited.wait_until_left_alone()
    state = limited.state("shadow_models")
    assert state.todo == []
    assert limited.made() == trained(state.shards)
    logs = limited.jobs("logs", "shadow_models")
    assert "SIGUSR2: stopped before" in logs
    assert len(list((limited.experiment.run_directory / "slurm" / "shadow_models").glob("[0-9]*.json"))) >= 2
    assert state.failed == ()


def test_arrays_are_split_by_the_size_that_the_cluster_allows(under_way):
    """17 packs of twelve; MaxArraySize is 16."""
    assert "MaxArraySize            = 16" in shell("scontrol", "show", "config")
    line = next(line for line in under_way["said"].splitlines() if "submitted: 200 shards in job " in line)
    arrays = line.split("job ")[1].split(", gate")[0].split(", ")
    assert len(arrays) == 2


def test_this_cluster_keeps_no_accounts():
    assert subprocess.run(["sacct"], capture_output=True, check=False).returncode != 0


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    shell("mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(place))
    yield place
    shell("umount", "-l", str(place))


def test_a_full_disk_costs_only_what_did_not_fit(on_cluster, small_disk):
    """20 shards of 84 kB; after the disk has grown, `resume` makes those that are missing and no other."""
    own = on_cluster("shadow_models.seeds=18", f"paths.runs={small_disk}")
    own.submit("--only", "shadow_models")
    own.wait_until_left_alone()
    state = own.state("shadow_models")
    assert 0 < state.count("done") < 20
    assert state.count("damaged") == 0
    assert own.made() == trained(shard for shard, found in state.shards.items() if found.state == "done")
    assert "next: python -m jobs resume" in own.jobs("status")
    shell("mount", "-o", "remount,size=20m", str(small_disk))
    own.submit("--only", "shadow_models", verb="resume")
    own.wait_until_left_alone()
    assert own.state("shadow_models").todo == []
    assert own.made() == trained(state.shards)
    assert not list(small_disk.rglob("*.tmp"))


def test_a_lost_gate_is_put_back_by_resume_and_nothing_is_submitted_twice(on_cluster):
    own = on_cluster("shadow_models.seeds=3")
    own.misbehave("slow", "3")
    own.submit("--only", "shadow_models")
    own.wait_for(lambda: own.tasks("RUNNING"))
    shell("scancel", *(job.id for job in own.queue() if job.is_gate))
    assert "had lost their gate" in own.submit("--only", "shadow_models", verb="resume")
    own.wait_until_left_alone()
    assert own.made() == trained(own.state("shadow_models").shards)


def test_dask_takes_its_workers_from_the_cluster(on_cluster):
    own = on_cluster("shadow_models.seeds=3", concurrent_tasks=2)
    said = own.jobs("run", "--executor", "dask", "--cluster", str(own.site), "--only", "shadow_models")
    assert "5/5 done" in said
    state = own.state("shadow_models")
    assert state.todo == []
    assert own.made() == trained(state.shards)
