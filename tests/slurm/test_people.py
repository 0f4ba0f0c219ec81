"""What a person types meanwhile."""

import subprocess
import sys
from pathlib import Path

from pipeline import ROOT
from tests.jobs.test_jobs import command
from tests.slurm.on_cluster import shell

HELD = {"extra": {"hold": True}}


def test_cancel_ends_this_experiments_jobs_and_no_others(on_cluster):
    one, other = (on_cluster(name=name, partition="spot") for name in ("one", "other"))  # where nobody else queues
    for experiment in (one, other):
        experiment.misbehave("hold")
        experiment.submit("--only", "shadow_models")
    one.wait_for(lambda: one.tasks("RUNNING") and other.tasks("RUNNING"))
    before = {job.id for job in other.queue()}
    assert "2 jobs cancelled" in one.jobs("cancel")
    one.wait_until_left_alone()
    assert {job.id for job in other.queue()} == before
    assert one.state("shadow_models").todo
    assert "next: python -m jobs resume config_data/demo.yml" in one.jobs("status")
    (other.mischief / "hold").unlink()
    other.wait_until_left_alone()
    assert not other.state("shadow_models").todo
    assert "no jobs in the queue" in one.jobs("cancel")


def test_two_resumes_at_once_submit_once(on_cluster):
    own = on_cluster(**HELD)
    verbs = command(
        own.experiment, "resume", "--executor", "slurm", "--cluster", str(own.site), "--only", "shadow_models"
    )
    both = [
        subprocess.Popen(verbs, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = ["".join(process.communicate()) for process in both]
    assert sum("submitted: 5 shards" in text for text in said) == 1
    assert sum("is being worked on by `resume`" in text or "on its way" in text for text in said) == 1
    assert len(own.queue()) == 2
    assert "on its way: 1 tasks queued or running" in own.submit("--only", "shadow_models", verb="resume")


def test_status_shows_the_queue_and_works_without_it(on_cluster, monkeypatch):
    own = on_cluster(**HELD)
    own.submit("--only", "shadow_models")
    said = own.jobs("status")
    assert "shards done missing queued" in said
    assert "shadow_models 5 5 5" in said
    assert "SLURM is at work on shadow_models; nothing to type" in said
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    said = own.jobs("status")
    assert "What is queued is not known: there is no SLURM here" in said
    assert "next: python -m jobs resume config_data/demo.yml" in said


def test_jobs_of_other_settings_are_in_the_way_of_new_ones(on_cluster):
    own = on_cluster(**HELD)
    own.submit("--only", "shadow_models")
    changed = ["--executor", "slurm", "--cluster", str(own.site), "--set", "seed=3"]
    done = subprocess.run(
        command(own.experiment, "run", *changed), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "was submitted for other settings of own and is still pending" in done.stderr


def test_the_controller_may_be_restarted_meanwhile(on_cluster):
    """What is queued stays queued; a command that comes in between says what is the matter."""
    own = on_cluster(**HELD)
    own.submit("--only", "shadow_models")
    shell("scontrol", "shutdown", "slurmctld")
    process = Path("/var/lib/slurm-tests/run/slurmctld.pid")
    own.wait_for(lambda: not process.exists())
    assert "What is queued is not known: " in own.jobs("status")
    shell("slurmctld")
    own.wait_for(lambda: "SLURM is at work on shadow_models" in own.jobs("status"))
    assert len(own.queue()) == 2
