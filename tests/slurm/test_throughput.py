"""What thousands of shards cost a person who waits, counted: jobs, files and reads. This file's tests come last."""

import math

import numpy as np

import pipeline.store
from jobs.run import unfinished
from jobs.slurm.submission import file_of, read_submission
from pipeline.store import Result, write_shard
from stages import stage_named

MAX_ARRAY = 16


def test_two_thousand_shards_are_a_few_arrays_and_a_resume_of_nothing_looks_at_each_shard_once(on_cluster, monkeypatch):
    own = on_cluster("shadow_models.seeds=1998", extra={"hold": True})
    said = own.submit("--only", "shadow_models")
    assert "submitted: 2000 shards" in said
    record = file_of(own.experiment, "shadow_models", 1)
    packs = read_submission(record).packs
    assert sum(map(len, packs)) == 2000
    arrays = said.split("in job ")[1].split(", gate")[0].split(", ")
    assert len(arrays) == math.ceil(len(packs) / MAX_ARRAY)
    written = len(list(record.parent.iterdir()))
    assert written <= 1 + 2 * len(packs) + len(arrays)  # the record, two files for each task, a script for each array

    stage = stage_named("shadow_models")
    for shard, expected in own.plan.fingerprints(stage).items():
        nothing = Result({"weights": np.zeros((1, 8), np.float32)})
        write_shard(own.plan.path(stage, shard), nothing, expected, {"wall_seconds": 1.0, "device": "cpu"})
    assert "nothing to do" in own.submit("--only", "shadow_models", verb="resume")
    assert len(list(record.parent.iterdir())) == written
    opened = []
    read_seal = pipeline.store.read_seal
    monkeypatch.setattr(pipeline.store, "read_seal", lambda path: opened.append(path) or read_seal(path))
    assert unfinished(own.plan, "shadow_models") == []
    assert sorted(path for path in opened if path.parent.name == stage.name) == sorted(
        own.plan.path(stage, shard) for shard in stage.shards(own.experiment)
    )
    assert len(opened) <= 2020  # with the few shards of other stages, in this run and shared ones
