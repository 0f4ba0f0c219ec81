"""The reconstructor that reads features recovered by head inversion, end to end, for every kind of head."""

from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch

from pipeline import checkpoint
from pipeline.data.images import target_images
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.interruption import Interrupted
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan

FEATURES = ("reconstructor.reads=features", "reconstructor.network=fully_connected", "reconstructor.width=8")
FEW = ("shadow_models.seeds=2", "shadow_models.models_per_seed=20", "shadow_models.test_models=10")


def make(plan, *names) -> None:
    for name in names:
        stage = stage_named(name)
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda done, total, text: None)


KINDS = {
    "linear": (),
    "stream": ("shadow_models.source=stream",),
    "augmented": ("head_inversion.augmentation={copies: 1, degrees: 5, bend: 0.02}",),
    "four images a class": ("shadow_models.class_size=4", "reconstructor.modes=[conditional, unconditional]"),
    "two layers": (
        "task={kind: binary, positive: [1, 3, 5, 7, 9]}",
        "shadow_models.training.classes=1",
        "shadow_models.training.hidden=8",
    ),
    "private": (
        "shadow_models.training.epochs=null",
        "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 64, noise_multiplier: 1.82}",
    ),
    "matrix-free null": ("evaluation.nulls=[shards]",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_is_inverted_and_scored(tiny, kind):
    plan = Plan(tiny(*FEW, *FEATURES, *KINDS[kind]))
    make(plan, *(stage.name for stage in plan.stages))
    inversion = plan.finished(stage_named("head_inversion"))
    facts, table = inversion.attributes("inversion"), inversion.read("inversion")
    assert -1 <= facts["cosine"] <= 1
    assert table["found"].shape == table["expected"].shape == table["cosine"].shape
    # calibrated on images held out of learning: of other victims' images, the error is about what was expected
    assert 0.7 < table["found"].mean() / table["expected"].mean() < 1.4
    scores = plan.finished(stage_named("min_mse"))
    for mode in plan.experiment.reconstructor.modes:
        found = scores.read(mode)
        groups = 10 if mode == "conditional" else 1
        assert found["h0/min_mse"].shape == (10, groups)
        assert all(np.isfinite(values).all() for name, values in found.items() if name.endswith("min_mse"))
    page = (plan.experiment.run_directory / "report" / "index.html").read_text()
    assert "Features recovered" in page
    assert "times that expected" in page


def test_inversion_and_decoder_stopped_at_any_step_end_with_the_same_bytes(tiny, monkeypatch):
    choices = (*FEW, *FEATURES, "reconstructor.average=0.9", "head_inversion.steps=14")
    whole, parts = Plan(tiny(*choices)), Plan(tiny(*choices, "name=parts"))
    for plan in (whole, parts):
        make(plan, "deep_features", "shadow_models", "weight_stats")
    make(whole, "head_inversion", "reconstructor")
    for name in ("head_inversion", "reconstructor"):
        stops = cycle((None, None, None, None, "SIGTERM"))
        with monkeypatch.context() as stopping:
            stopping.setattr(checkpoint, "stop_asked", partial(next, stops))
            for _ in range(2):
                with pytest.raises(Interrupted):
                    make(parts, name)
        make(parts, name)
        one, other = (plan.finished(stage_named(name)) for plan in (whole, parts))
        for shard in one.names:
            first, second = one.read(shard), other.read(shard)
            assert first.keys() == second.keys()
            assert all(first[key].tobytes() == second[key].tobytes() for key in first), name


def test_what_the_decoder_reads_belongs_to_the_image_it_is_shown(tiny):
    """With coefficients known and no noise, a recovered image is nearer to its own features than to another head's."""
    from pipeline.head_inversion.build import stored_inversion
    from pipeline.head_inversion.training import Heads, measure_posterior

    plan = Plan(tiny(*FEW, *FEATURES, "shadow_models.class_size=4"))
    make(plan, "deep_features", "shadow_models", "head_inversion")
    inputs = plan.read_inputs(stage_named("reconstructor"))
    inversion = stored_inversion(plan.experiment, inputs["head_inversion"], torch.device("cpu"))
    shard = inputs["shadow_models"].read("train-00000")
    table = plan.finished(stage_named("deep_features")).read("mnist_digits-train")
    own = torch.as_tensor(table["features"]) @ inversion.directions
    columns = (torch.as_tensor(shard[name]) for name in ("weights", "indices", "coefficients"))
    weights, indices, coefficients = columns
    heads = Heads.of(inversion.slots, weights, indices.long(), coefficients, own)
    right = measure_posterior(inversion, heads, heads.coefficients).cosine
    turned = replace(heads, features=heads.features.roll(1, 0))
    wrong = measure_posterior(inversion, turned, heads.coefficients).cosine
    assert right[:, inversion.slots.ranks == 0].mean() > 0.3
    assert right.mean() > wrong.mean() + 0.2
    assert len(target_images(load(plan.experiment.data, "train", plan.experiment.paths.data_root), 32)) == len(own)


def test_heads_that_leave_the_span_of_their_images_are_refused(tiny):
    with pytest.raises(UserError, match=r"reads: features needs heads trained by gradient descent"):
        tiny(*FEATURES, "shadow_models.training.optimizer=adam")
