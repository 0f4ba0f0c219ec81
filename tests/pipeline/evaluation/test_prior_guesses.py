"""Guesses without the model: the image that hits most is found, and hits are counted as a plain loop counts them."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.prior_guesses import Guesses, guess_distances, prior_guesses, record_distances
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan

THRESHOLD = 0.01


def two_clusters(generator: np.random.Generator, count: int = 40) -> np.ndarray:
    """(count, 1, 4, 4) uint8: three in four images around one grey, the others around another: their mean hits
    nothing."""
    grey = np.where(np.arange(count) % 4 == 0, 40, 210)[:, None, None, None]
    return (grey + generator.integers(-8, 9, (count, 1, 4, 4))).astype(np.uint8)


def own_images() -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(0)
    return torch.as_tensor(np.concatenate([two_clusters(generator), two_clusters(generator)])), np.repeat([0, 1], 40)


def test_the_best_image_lies_where_most_images_are():
    images, classes = own_images()
    found = prior_guesses(images, classes, THRESHOLD, np.random.default_rng(0))
    unit = images.double().numpy() / 127.5 - 1
    for name, guessed in found.images.items():
        for i in range(2):
            for j in range(2):
                distances = ((guessed[i].double().numpy() - unit[classes == j]) ** 2).mean((1, 2, 3))
                assert found.success[name][i, j] == pytest.approx((distances <= THRESHOLD).mean(), abs=1e-6)
    assert (np.diag(found.success["class_mean"]) == 0).all()
    assert (np.diag(found.success["best_image"]) == 0.75).all()
    assert (np.diag(found.success["best_image"]) >= np.diag(found.success["training_image"])).all()


def test_a_group_of_several_classes_gets_the_guess_that_most_likely_hits_any():
    success = np.array([[0.5, 0.0, 0.0], [0.3, 0.4, 0.3], [0.0, 0.0, 0.45]])
    guesses = Guesses({}, {"best_image": success})
    assert guesses.for_group("best_image", np.array([0, 1, 2])) == 1
    assert guesses.for_group("best_image", np.array([0, 0])) == 0
    assert guesses.for_group("best_image", np.array([2])) == 2


def test_distances_are_those_of_a_plain_loop():
    images, classes = own_images()
    guesses = prior_guesses(images, classes, THRESHOLD, np.random.default_rng(0))
    groups = torch.tensor([[[0, 4, 5], [41, 42, 44]], [[1, 2, 3], [45, 46, 48]]])
    found = guess_distances(guesses, images, groups, classes)
    for name, table in found.items():
        for victim in range(2):
            for group in range(2):
                guess = guesses.images[name][group].double()
                nearest = min(
                    float((images[i] / 127.5 - 1 - guess).square().mean()) for i in groups[victim, group].tolist()
                )
                assert table[victim, group] == pytest.approx(nearest, abs=1e-6)


def test_a_record_is_held_against_the_guess_for_its_class():
    images, classes = own_images()
    guesses = prior_guesses(images, classes, THRESHOLD, np.random.default_rng(0))
    records = torch.tensor([[3, 44], [50, 7]])
    for name, table in record_distances(guesses, images, records, classes).items():
        for place in np.ndindex(2, 2):
            index = int(records[place])
            apart = images[index] / 127.5 - 1 - guesses.images[name][classes[index]]
            assert table[place] == pytest.approx(float(apart.square().mean()), abs=1e-6)


def test_the_stage_scores_victims_that_chose_no_guess(tiny):
    """The victims' images are the test split's, the guesses the training split's; both modes are reported."""
    plan = Plan(tiny("reconstructor.modes=[conditional, unconditional]", "evaluation.lpips=none"))
    for stage in plan.stages:
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)
    made = plan.finished(stage_named("baselines"))
    by_class, any_image = made.read("conditional"), made.read("unconditional")
    threshold = float(made.attributes("conditional")["threshold"])
    for name in ("class_mean", "training_image", "best_image"):
        assert by_class[f"{name}/min_mse"].shape == (16, 10)
        assert by_class[f"{name}/hits"][0, 0] == pytest.approx((by_class[f"{name}/min_mse"] <= threshold).mean())
        assert any_image[f"{name}/min_mse"].shape == (16, 1)
    # whichever class is guessed, it is held against the victim's image of that class among others
    guess = min(
        range(10), key=lambda k: np.abs(any_image["class_mean/min_mse"] - by_class["class_mean/min_mse"][:, [k]]).max()
    )
    assert (any_image["class_mean/min_mse"][:, 0] <= by_class["class_mean/min_mse"][:, guess] + 1e-6).all()
    page = (plan.path(stage_named("report"), "report").parent / "index.html").read_text()
    assert "Without the model, conditional" in page
    assert "Without the model, unconditional" in page


def test_imported_scores_have_no_baselines(tiny):
    assert stage_named("baselines").shards(tiny("imported=[min_mse]")) == []
