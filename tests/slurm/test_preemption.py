"""Machines taken back: work is left at a point from which it goes on, to the same bytes."""

import shutil

from tests.jobs.test_jobs import data_sets
from tests.slurm.on_cluster import shell

SPOT = {"partition": "spot"}
TRAINING = ("reconstructor.steps=400", "reconstructor.validate_every=100", "resources.reconstructor.device=cpu")


def take_the_node_back() -> None:
    """A job that is worth more wants all of it."""
    shell("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")


def test_a_preempted_pack_is_requeued_and_nothing_is_lost_or_done_twice(on_cluster):
    own = on_cluster("shadow_models.seeds=9", cpu=SPOT)
    own.misbehave("slow", "4")  # on no machine is the pack through before the node is wanted
    own.submit("--only", "shadow_models")
    own.wait_for(lambda: own.made())
    take_the_node_back()
    own.wait_for(lambda: not own.tasks("RUNNING"))
    own.misbehave("slow", "0")
    own.wait_until_left_alone()
    state = own.state("shadow_models")
    assert state.todo == []
    assert own.made() == {f"shadow_models/{shard}": 1 for shard in state.shards}
    assert "SIGTERM: stopped before" in own.jobs("logs", "shadow_models")


def test_the_reconstructor_preempted_three_times_ends_with_the_same_bytes(session_cluster):
    undisturbed = session_cluster("undisturbed", *TRAINING)
    undisturbed.jobs("run", "--executor", "inline")
    own = session_cluster("preempted", *TRAINING, cpu=SPOT)
    for stage in ("shadow_models", "weight_stats"):
        shutil.copytree(undisturbed.experiment.run_directory / stage, own.experiment.run_directory / stage)
    own.misbehave("slow-steps", "1")
    own.submit("--only", "reconstructor")
    stepped = own.mischief / "stepped"
    for _ in range(3):
        stepped.unlink(missing_ok=True)
        own.wait_for(stepped.exists)
        take_the_node_back()
        own.wait_for(lambda: not own.tasks("RUNNING"))
    own.misbehave("slow-steps", "0")
    own.wait_until_left_alone()
    logs = own.jobs("logs", "reconstructor", "conditional")
    assert logs.count("left at its checkpoint: SIGTERM") == 3
    assert data_sets(own.experiment, ["reconstructor"]) == data_sets(undisturbed.experiment, ["reconstructor"])
