"""What thousands of shards cost a person who waits, on a cluster that is quiet: this file's tests come last."""

import time

import numpy as np

from pipeline.store import Result, write_shard
from stages import stage_named


def test_two_thousand_shards_are_dispatched_within_10_s_and_a_resume_of_nothing_takes_3_s(on_cluster):
    own = on_cluster("shadow_models.seeds=1998", extra={"hold": True})
    started = time.monotonic()
    said = own.submit("--only", "shadow_models")
    dispatched = time.monotonic() - started
    assert "submitted: 2000 shards" in said
    stage = stage_named("shadow_models")
    for shard, expected in own.plan.fingerprints(stage).items():
        nothing = Result({"weights": np.zeros((1, 8), np.float32)})
        write_shard(own.plan.path(stage, shard), nothing, expected, {"wall_seconds": 1.0, "device": "cpu"})
    started = time.monotonic()
    assert "nothing to do" in own.submit("--only", "shadow_models", verb="resume")
    resumed = time.monotonic() - started
    print(f"dispatch of 2,000 shards {dispatched:.1f} s, resume of nothing {resumed:.1f} s")
    assert dispatched < 10
    assert resumed < 3
