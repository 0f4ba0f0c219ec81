"""Several test seeds: further deals of the same test images, scored together and told apart."""

import numpy as np
import pytest

from pipeline.config import load
from pipeline.data.deal import deal
from pipeline.data.images import target_images
from pipeline.data.sources import load as load_images
from pipeline.errors import UserError
from pipeline.evaluation.nulls import have_an_image_in_common, other_victims
from pipeline.shadow import seeds
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan


def make(plan) -> None:
    for stage in plan.stages:
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda done, total, text: None)


@pytest.fixture
def plan(tiny):
    return Plan(tiny("shadow_models.test_seeds=3", "shadow_models.test_models=12", "reconstructor.steps=6"))


def test_every_seeds_victims_are_scored_against_their_own_images(plan):
    make(plan)
    experiment = plan.experiment
    labels = load_images(experiment.data, "test", experiment.paths.data_root).labels
    scores = plan.finished(stage_named("min_mse")).read("conditional")
    assert scores["h0/seed"].tolist() == [0] * 12 + [1] * 12 + [2] * 12
    for seed in range(3):
        own = deal(labels, 1, 12, seed)
        assert (scores["h0/nearest"][scores["h0/seed"] == seed] == own).all()  # one image a class: it is the nearest
    found = plan.finished(stage_named("roc")).read("conditional")
    main = experiment.evaluation.nulls[0]
    apart = found[f"{main}/by_seed/threshold_tpr"]
    assert apart[:, 0] == pytest.approx(
        [(scores["h0/min_mse"][12 * seed : 12 * seed + 12] <= 0.06957).mean() for seed in range(3)], abs=0.06
    )
    assert found[f"{main}/over_seeds/auc"][0] == pytest.approx(found[f"{main}/by_seed/auc"][:, 0].mean())
    pictures = target_images(load_images(experiment.data, "test", experiment.paths.data_root), 32).numpy() / 127.5
    mse = np.square(scores[f"h1/{main}/rebuilt"] / 127.5 - pictures[scores["h0/nearest"]]).mean((2, 3, 4))
    assert mse == pytest.approx(scores[f"h1/{main}/min_mse"][:, 0], abs=0.01)  # the null's pictures, in bytes
    page = (experiment.run_directory / "report" / "index.html").read_text()
    assert "test seed 2" in page
    assert "mean over seeds" in page
    assert "deal the same images again" in page
    assert "under them what the null" in page


def test_more_seeds_add_shards_and_change_none(plan):
    stage = stage_named("shadow_models")
    one, three = (
        Plan(load("demo_weights", [f"shadow_models.test_seeds={number}"])).fingerprints(stage) for number in (1, 3)
    )
    assert three.keys() - one.keys() == {"test-00001", "test-00002"}
    assert one.items() <= three.items()


def test_a_null_never_has_the_weights_of_another_seeds_victim_with_an_image_in_common(tiny):
    experiment = tiny("shadow_models.test_seeds=3", "shadow_models.test_models=150")
    labels = load_images(experiment.data, "test", experiment.paths.data_root).labels
    indices = seeds.deal_scored(experiment, labels)
    shifted = np.roll(np.arange(450), 150)
    assert have_an_image_in_common(indices, indices[shifted]).any()
    partner = other_victims(indices, indices, np.random.default_rng(0))
    assert not have_an_image_in_common(indices, indices[partner]).any()


def test_a_state_chosen_by_images_that_are_scored_is_refused(plan, tiny):
    chosen = tiny("shadow_models.test_seeds=2", "evaluation.reconstructor=best")
    with pytest.raises(UserError, match=r"evaluation.reconstructor: best is chosen by watched victims, whose images"):
        stage_named("min_mse").check(chosen)


def test_watched_identities_are_persons_whom_no_scored_victim_is_about(tiny):
    """Forty persons of two to five photos: the first twenty of the walk cannot be about the last five of them."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(40), np.arange(40) % 4 + 2))
    experiment = tiny(
        "task={kind: identity}",
        "shadow_models.training.classes=1",
        "shadow_models.training.hidden=4",
        "shadow_models.test_models=20",
        "reconstructor.modes=[unconditional]",
    )
    (scored, _), (watched, learnt) = (seeds.deal(experiment, shard, labels) for shard in (seeds.VICTIMS, seeds.WATCHED))
    about, looked_at = (set(labels[table[:, 0]].tolist()) for table in (scored, watched))
    assert len(looked_at) == 5
    assert learnt[0].tolist() == [1] + [0] * 9
    assert not about & looked_at
