"""How a gate judges a round, and how jobs and their experiments find each other, without a cluster."""

import os

import pytest

from jobs.failures import failure_file, gate_failure_file, record_failure, write_failure
from jobs.scan import scan, scan_stage
from jobs.slurm import queue
from jobs.slurm.gate import progress_mark
from jobs.slurm.queue import JobName, directory_mark, queued_jobs
from jobs.slurm.submission import Chain, Submission, latest_chain, read_submission, write_submission
from jobs.status import next_step
from pipeline.errors import Failure
from stages import stage_named
from stages.plan import Plan

RECONSTRUCTOR = stage_named("reconstructor")


def chain_of(experiment) -> Chain:
    plan = Plan(experiment).fingerprint
    return Chain(experiment.source, experiment.overrides, "default", "auto", None, plan)


def test_progress_is_a_newer_checkpoint_unless_its_shard_failed_after_it(tiny):
    experiment = tiny()
    plan = Plan(experiment)
    before = progress_mark(plan, scan_stage(plan, RECONSTRUCTOR))
    checkpoint = plan.checkpoint_path(RECONSTRUCTOR, "conditional")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    renewed = progress_mark(plan, scan_stage(plan, RECONSTRUCTOR))
    assert renewed != before
    record_failure(experiment, "reconstructor", "conditional", ValueError("diverged"))
    failed = failure_file(experiment, "reconstructor", "conditional")
    os.utime(checkpoint, (1000, 1000))
    assert progress_mark(plan, scan_stage(plan, RECONSTRUCTOR)) == before
    os.utime(failed, (900, 900))
    assert progress_mark(plan, scan_stage(plan, RECONSTRUCTOR)) not in (before, renewed)


def test_a_submission_is_read_back_and_the_newest_is_the_chain(tiny):
    experiment = tiny()
    chain = chain_of(experiment)
    submission = Submission(chain, "shadow_models", 1, 1, "mark", "cpu", (("train-00000",), ("test-00000",)))
    assert read_submission(write_submission(experiment, submission)) == submission
    assert latest_chain(experiment) == chain
    assert chain.read().experiment == experiment
    assert next_step(Plan(experiment), scan(Plan(experiment))).endswith("--executor slurm --cluster default")


def test_jobs_refuse_an_experiment_that_was_changed_after_they_were_submitted(tiny):
    chain = chain_of(tiny())
    changed = Chain(**{**vars(chain), "overrides": (*chain.overrides, "seed=3")})
    with pytest.raises(Failure, match=r"demo\.yml was changed since this job was submitted"):
        changed.read()


def test_jobs_are_recognised_by_name_and_run_directory(tiny, monkeypatch):
    experiment = tiny("name=a.b")
    own, other = (directory_mark(path) for path in (experiment.run_directory, experiment.run_directory.parent))
    names = [JobName("a.b", "roc", 2, part, mark) for part, mark in (("16", own), ("gate", own), ("0", other))]
    listed = f"7_3|RUNNING|{names[0]}\n8|PENDING|{names[1]}\n9|RUNNING|{names[2]}\n10|RUNNING|something else\n"
    monkeypatch.setattr(queue, "_ask", lambda command, seconds: listed)
    task, gate = queued_jobs(experiment.run_directory)
    assert (task.id, task.name, task.pack, task.running, task.is_gate) == ("7_3", names[0], 19, True, False)
    assert (gate.running, gate.is_gate) == (False, True)


def test_status_shows_what_kept_a_gate_from_going_on(tiny):
    experiment = tiny()
    path = gate_failure_file(experiment.run_directory, "deep_features")
    write_failure(path, "deep_features", "gate", Failure("sbatch refused: over the limit"), "resume")
    plan = Plan(experiment)
    assert "sbatch refused: over the limit" in next_step(plan, scan(plan))
