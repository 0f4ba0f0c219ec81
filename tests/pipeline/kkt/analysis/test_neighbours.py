"""Neighbour searches against plain loops over pairs."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.image_metrics import ssim
from pipeline.kkt.analysis import neighbours
from pipeline.kkt.analysis.neighbours import distances, nearest, scaled

METRICS = ("ncc", "ncc_half", "ncc_quarter", "l2", "ssim")


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 3, 8, 8, generator=generator, dtype=torch.float64) for count in (7, 30)]


def plain(image: torch.Tensor, other: torch.Tensor, metric: str) -> float:
    """The distance of one pair, channel by channel."""
    if metric == "ssim":
        return (1 - float(ssim(image, other))) / 2
    if factor := {"ncc_half": 0.5, "ncc_quarter": 0.25}.get(metric):
        image, other = scaled(image[None], factor)[0], scaled(other[None], factor)[0]
    differences = []
    for a, b in zip(image.numpy(), other.numpy(), strict=True):
        if metric != "l2":
            a, b = ((channel - channel.mean()) / channel.std(ddof=1) for channel in (a, b))
        differences.append(((a - b) ** 2).mean())
    return float(np.mean(differences))


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_each_pair_by_itself(images, metric):
    ours, theirs = images
    table = distances(ours, theirs, metric)
    for i, j in ((0, 0), (3, 17), (6, 29)):
        assert float(table[i, j]) == pytest.approx(plain(ours[i], theirs[j], metric), abs=1e-12)


def test_normalised_cross_correlation_is_pearsons_of_one_channel():
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, 1, 5, 6, generator=generator, dtype=torch.float64)
    pearson = np.corrcoef(first.flatten(), second.flatten())[0, 1]
    assert float(distances(first, second, "ncc")) == pytest.approx(2 * (1 - 1 / 30) * (1 - pearson))


def test_brightness_and_contrast_of_a_channel_do_not_matter_to_ncc(images):
    ours, _ = images
    altered = ours * torch.tensor([0.1, 2.0, 30.0])[:, None, None] + torch.tensor([5.0, -1.0, 0.0])[:, None, None]
    assert torch.equal(nearest(ours, altered.flip(0), "ncc").indices[:, 0], torch.arange(7).flip(0))
    assert float(nearest(ours, altered, "ncc").distances.max()) < 1e-12


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("best_buddies", [False, True])
def test_searching_in_blocks_finds_what_sorting_all_distances_finds(images, metric, best_buddies, monkeypatch):
    ours, theirs = images
    monkeypatch.setattr(neighbours, "BLOCK_NUMBERS", 1500)
    found = nearest(ours, theirs, metric, keep=5, best_buddies=best_buddies)
    table = torch.tensor([[plain(a, b, metric) for b in theirs] for a in ours], dtype=torch.float64)
    if best_buddies:
        table[torch.arange(7)[:, None] != table.argmin(0)] = torch.inf
    expected = table.sort(1)
    assert torch.allclose(found.distances, expected.values[:, :5], atol=1e-12)
    finite = expected.values[:, :5].isfinite()
    assert torch.equal(found.indices[finite], expected.indices[:, :5][finite])


def test_best_buddies_leave_nothing_to_an_image_that_no_candidate_is_nearest_to():
    ours = torch.tensor([0.0, 1.0, 5.0]).view(3, 1, 1, 1)
    theirs = torch.tensor([0.1, 0.9, 0.2]).view(3, 1, 1, 1)
    found = nearest(ours, theirs, "l2", keep=2, best_buddies=True)
    assert found.indices[:2].tolist() == [[0, 2], [1, 0]]
    assert found.distances[2].isinf().all()


def test_a_constant_candidate_is_uncorrelated_and_not_a_failure(images):
    ours, theirs = images
    constant = torch.full_like(theirs[:1], 0.3)
    assert float(distances(ours, constant, "ncc").min()) == pytest.approx(63 / 64)
    assert torch.isfinite(distances(constant, constant, "ncc")).all()
    assert nearest(ours, torch.cat([constant, ours]), "ncc").indices[:, 0].tolist() == list(range(1, 8))
