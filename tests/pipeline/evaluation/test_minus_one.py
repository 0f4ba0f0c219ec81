"""The null of neighbours: which record is taken out, and that each group is read of the head without its own."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.evaluation.minus_one import minus_one_reading, refuse_untrainable, removed_records
from pipeline.evaluation.reading import WeightReader
from pipeline.shadow.settings import Training
from pipeline.statistics import Standardisation, moments_of
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan


def test_records_take_their_turn_and_places_are_columns_of_the_training_set():
    indices = torch.arange(5 * 6).view(5, 6) + 100
    records, places = removed_records(indices.view(5, 3, 2))
    assert places[:2].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert torch.equal(records[:, :, 0], indices.gather(1, places))


def test_every_group_is_read_of_the_head_without_its_record():
    weights = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    standardise = Standardisation.of(moments_of([weights]))
    reader = WeightReader(standardise, 3, conditional=True)
    places = torch.arange(3).expand(4, -1)
    reading = minus_one_reading(places, reader, lambda absent: weights + absent[:, None])
    assert reading.labels.tolist() == [[0, 1, 2]] * 4
    for group in range(3):
        assert torch.equal(reading.inputs[:, group], standardise.apply(weights + group))


def test_batches_that_cannot_lose_a_record_are_refused():
    training = Training(learning_rate=0.1, init_std=0.1, epochs=1, batch_size=5)
    with pytest.raises(UserError, match=r"trains on 9 images, which do not divide into batches of 5"):
        refuse_untrainable(training, 10)


PRIVATE = "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 8, noise_multiplier: 1.23}"


@pytest.mark.parametrize("private", [(), ("shadow_models.training.epochs=null", PRIVATE)], ids=["plain", "private"])
def test_the_stages_score_and_rate_it(tiny, private):
    """With one image a class the record taken out is the only candidate, so H0 is the one of all nulls."""
    plan = Plan(tiny("evaluation.nulls=[other_victims, minus_one]", "evaluation.lpips=none", *private))
    for stage in plan.stages:
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)
    scores = plan.finished(stage_named("min_mse")).read("conditional")
    assert (scores["h0/minus_one"] == scores["h0/min_mse"]).all()
    assert scores["h1/minus_one/min_mse"].shape == (16, 1, 10)
    assert (scores["h1/minus_one/min_mse"][:, 0] != scores["h0/min_mse"]).all()
    rated = plan.finished(stage_named("roc")).read("conditional")
    assert 0 <= rated["minus_one/auc"][0, 0] <= 1
    page = (plan.path(stage_named("report"), "report").parent / "index.html").read_text()
    assert "only its curve is bounded" in page
