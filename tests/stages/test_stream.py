"""A stream of shadow models, end to end: the models that shards would hold, and no file of them."""

import numpy as np
import pytest
import torch

from pipeline import checkpoint
from pipeline.errors import Failure
from pipeline.interruption import Interrupted
from pipeline.shadow.recipe import Recipe
from pipeline.store import Result, Shards, write_shard
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan

CPU = torch.device("cpu")


def make(plan, *names) -> None:
    for name in names:
        stage = stage_named(name)
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda done, total, text: None)


def test_a_stream_makes_what_the_shards_hold_whatever_the_threads(tiny):
    """The same bytes, and the same statistics of them."""
    sharded, streamed = Plan(tiny()), Plan(tiny("name=streamed", "shadow_models.source=stream"))
    for plan in (sharded, streamed):
        make(plan, "deep_features", "shadow_models", "weight_stats")
    features = sharded.finished(stage_named("deep_features"))
    recipe = Recipe.of(streamed.experiment, "train-00000", features, CPU)
    shards = sharded.finished(stage_named("shadow_models"))
    torch.set_num_threads(2)
    try:
        for name in ("train-00000", "train-00002"):
            made, written = recipe.make(name), shards.read(name)
            np.testing.assert_array_equal(made.weights, written["weights"])
            np.testing.assert_array_equal(made.indices, written["indices"])
            np.testing.assert_array_equal(made.coefficients, written["coefficients"])
    finally:
        torch.set_num_threads(1)
    statistics = [plan.finished(stage_named("weight_stats")).read("all") for plan in (sharded, streamed)]
    for name, values in statistics[0].items():
        np.testing.assert_array_equal(values, statistics[1][name])


def test_a_streamed_training_writes_no_training_models_and_nulls_from_the_stream_need_none(tiny):
    plan = Plan(tiny("shadow_models.source=stream", "evaluation.nulls=[shards]"))
    make(plan, "deep_features", "shadow_models", "weight_stats", "reconstructor", "min_mse")
    written = {path.name for path in plan.path(stage_named("shadow_models"), "test-00000").parent.iterdir()}
    assert written == {"test-00000.h5", "watch-00001.h5"}
    attributes = plan.finished(stage_named("reconstructor")).attributes("conditional")
    assert attributes["precision"] == "float32"
    assert attributes["best_watched_min_mse"] <= attributes["watched_min_mse"]


def test_a_streamed_training_stopped_at_any_step_ends_with_the_same_bytes(tiny, monkeypatch):
    """With every choice that has a state of its own: average, best, scaled losses. Seven models a step of blocks."""
    choices = (
        "shadow_models.source=stream",
        "shadow_models.models_per_seed=2",
        "reconstructor.batch_size=7",
        "reconstructor.steps=23",
        "reconstructor.precision=float16",
        "reconstructor.average=0.9",
        "reconstructor.clip_norm=1.0",
    )
    whole, parts = Plan(tiny(*choices)), Plan(tiny(*choices, "name=parts"))
    for plan in (whole, parts):
        make(plan, "deep_features", "shadow_models", "weight_stats")
    make(whole, "reconstructor")
    asked = iter(range(10**6))
    monkeypatch.setattr(checkpoint, "stop_asked", lambda: "SIGTERM" if next(asked) % 5 == 4 else None)
    for _ in range(4):
        with pytest.raises(Interrupted):
            make(parts, "reconstructor")
    make(parts, "reconstructor")
    one, other = (plan.finished(stage_named("reconstructor")).read("conditional") for plan in (whole, parts))
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_the_watched_victims_share_no_image_with_the_scored_ones(tiny):
    plan = Plan(tiny("shadow_models.test_models=150"))
    make(plan, "deep_features", "shadow_models")
    shards = plan.finished(stage_named("shadow_models"))
    scored, watched = (shards.read(name)["indices"] for name in ("test-00000", "watch-00001"))
    assert len(scored) == 150
    assert len(watched) == 21  # an eighth of the 175 sets that the embedded test split deals
    assert not np.intersect1d(scored, watched).size


def test_features_of_another_backbone_are_refused_with_the_file(tiny, tmp_path):
    path = tmp_path / "narrow.h5"
    write_shard(path, Result({"features": np.zeros((5, 12), np.float32), "labels": np.arange(5)}), "f", {})
    with pytest.raises(Failure, match=r"mnist_digits-train has 12 features an image, and vgg_tiny makes 256: remove"):
        Recipe.of(tiny(), "train-00000", Shards({"mnist_digits-train": path}), CPU)
