"""Thresholds, scores and rates, against sums written out and closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.evaluation.min_mse import min_mse
from pipeline.evaluation.nearest_neighbour import nearest_same_class, threshold
from pipeline.evaluation.rates import auc, rates, roc_curve, tpr_at_fpr
from pipeline.evaluation.victims import VictimSet
from pipeline.networks.reconstructor import Reconstructor


def quiet(*_):
    pass


def test_nearest_same_class_is_the_nearest_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    test, train = (torch.randint(0, 256, (n, 1, 6, 6), dtype=torch.uint8, generator=generator) for n in (40, 90))
    labels, others = np.arange(40) % 3, np.arange(90) % 3
    found = nearest_same_class(test, labels, train, others, quiet)
    for k in range(40):
        pool = train[torch.as_tensor(others == labels[k])].double()
        direct = ((pool - test[k].double()) / 127.5).square().mean((1, 2, 3)).min().item()
        assert found[k] == pytest.approx(direct, rel=1e-6)
    value, per_class = threshold(found, labels)
    assert value == pytest.approx(np.mean([found[labels == k].mean() for k in range(3)]))
    assert len(per_class) == 3


def test_a_class_without_training_images_is_named():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(UserError, match="class 1 has 1 test images and no training image"):
        nearest_same_class(images, np.array([0, 1]), images, np.array([0, 0]), quiet)


@pytest.mark.parametrize(("name", "published"), [("mnist", 0.0696), ("cifar10", 0.1284)])
def test_published_nearest_neighbour_thresholds(real_data, name, published):
    data = DataSet(name=name)
    train, test = (load(data, split, real_data) for split in ("train", "test"))
    distances = nearest_same_class(target_images(test, 32), test.labels, target_images(train, 32), train.labels, quiet)
    assert threshold(distances, test.labels)[0] == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize("classes", [0, 4])
def test_min_mse_is_the_distance_to_the_nearest_candidate(classes):
    torch.manual_seed(0)
    network = Reconstructor(5, 1, 16, 2, classes)
    images = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8)
    groups = torch.randint(0, 30, (70, max(classes, 1), 3))
    victims = VictimSet(torch.randn(70, 5), images, groups)
    scores = min_mse(network, victims)
    assert scores.rebuilt.shape == (70, max(classes, 1), 1, 16, 16)
    for v, g in ((0, 0), (69, max(classes, 1) - 1)):
        label = torch.tensor([g]) if classes else None
        with torch.no_grad():
            rebuilt = network(victims.inputs[v : v + 1], label)
        errors = [(rebuilt[0] - (images[k].float() / 127.5 - 1)).square().mean().item() for k in groups[v, g]]
        assert scores.distances[v, g] == pytest.approx(min(errors), rel=1e-5)
        assert scores.nearest[v, g] == groups[v, g, int(np.argmin(errors))]


def test_auc_and_tpr_of_a_table_worked_out_by_hand():
    h0, h1 = np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [3.0], [5.0], [6.0]])
    assert auc(h0, h1) == pytest.approx((4 + 3.5 + 2) / 12)
    assert tpr_at_fpr(h0, h1, 0.0) == pytest.approx(1 / 3)
    assert tpr_at_fpr(h0, h1, 0.25) == pytest.approx(2 / 3)
    assert tpr_at_fpr(h0, h1, 0.5) == 1


def test_rates_of_gaussian_scores_are_the_closed_forms():
    rng = np.random.default_rng(0)
    h0, h1 = rng.normal(-1.5, 1, (2000, 10)), rng.normal(0, 1, (2000, 10))
    found = rates(h0, h1, -1.0, (0.01, 0.1), 200, np.random.default_rng(1))
    estimates = (found.auc, *found.tpr_at_fpr, found.tpr_at_threshold, found.fpr_at_threshold)
    truths = (
        norm.cdf(1.5 / np.sqrt(2)),
        norm.cdf(norm.ppf(0.01) + 1.5),
        norm.cdf(norm.ppf(0.1) + 1.5),
        norm.cdf(0.5),
        norm.cdf(-1.0),
    )
    for estimate, truth in zip(estimates, truths, strict=True):
        standard_error = (estimate.high - estimate.low) / (2 * norm.ppf(0.975))
        assert abs(estimate.value - truth) < 3 * standard_error
        assert standard_error < 0.01
    fpr, tpr = roc_curve(h0, h1)
    assert np.all(np.diff(tpr) >= 0)
    assert np.abs(tpr - norm.cdf(norm.ppf(fpr) + 1.5)).max() < 0.02


def test_intervals_know_that_rows_of_a_victim_go_together():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 1))
    alone = rates(rng.normal(size=(200, 10)), rng.normal(size=(200, 10)), 0.0, (0.1,), 300, np.random.default_rng(1))
    tied = rates(np.repeat(shared, 10, 1), rng.normal(size=(200, 10)), 0.0, (0.1,), 300, np.random.default_rng(1))
    assert tied.tpr_at_threshold.high - tied.tpr_at_threshold.low > 2 * (
        alone.tpr_at_threshold.high - alone.tpr_at_threshold.low
    )


def test_what_the_sample_cannot_resolve_is_a_bound():
    h0, h1 = np.ones((20, 1)), np.full((20, 1), 2.0)
    found = rates(h1, h0, 0.5, (0.001, 0.1), 50, np.random.default_rng(0))
    assert [estimate.bound for estimate in found.tpr_at_fpr] == [True, False]
    assert found.tpr_at_threshold.value == 0
    assert found.tpr_at_threshold.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert rates(h0, h1, 1.5, (0.1,), 50, np.random.default_rng(0)).tpr_at_threshold.low == pytest.approx(
        0.025 ** (1 / 20)
    )


@pytest.mark.parametrize("bad", [np.full((5, 1), np.nan), np.zeros((1, 1)), np.zeros((0, 1))])
def test_scores_that_say_nothing_are_refused(bad):
    with pytest.raises(UserError, match="H0 has"):
        rates(bad, np.zeros((5, 1)), 0.1, (0.1,), 10, np.random.default_rng(0))
