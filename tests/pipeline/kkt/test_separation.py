"""Independent components of a span: patchworks come back from their mixtures, with the mean and their own sign."""

import pytest
import torch

from pipeline.kkt.analysis.scores import correlation
from pipeline.kkt.separation import differences, orthogonal, separate, with_mean
from pipeline.kkt.span import Span

SHAPE, COUNT, UNITS = (1, 24, 24), 6, 300


@pytest.fixture
def patchworks():
    """(6, 1, 24, 24): rectangles of random brightness on top of one another, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(COUNT, 1, 1, 1, generator=generator).double().repeat(1, *SHAPE)
    for image in images:
        for _ in range(12):
            top, left, height, width = (int(torch.randint(1, 16, (), generator=generator)) for _ in range(4))
            image[:, top : top + height, left : left + width] = torch.rand((), generator=generator).double()
    return images


def span_of(images, mean):
    """Of a ReLU layer with W = Σ cᵢ xᵢᵀ and b = Σ cᵢ, cᵢ zero but in the units that xᵢ activates."""
    generator = torch.Generator().manual_seed(1)
    inputs = (images - mean).flatten(1)
    owed = torch.randn(UNITS, len(images), generator=generator).double()
    for _ in range(200):
        weight, bias = owed @ inputs, owed.sum(1)
        owed = torch.where(weight @ inputs.T + bias[:, None] > 0, owed, 0.9 * owed)
    _, values, directions = torch.linalg.svd(owed @ inputs, full_matrices=False)
    rank = int((values > 1e-9 * values[0]).sum())
    return Span(directions[:rank], values[:rank], 0.0, 0.0, owed @ inputs, owed.sum(1), tuple(mean.shape))


def separated(span, mean, seed=0):
    return separate(span, mean, 200, torch.Generator().manual_seed(seed), torch.float64)


def test_images_come_back_from_their_mixtures(patchworks):
    """Of 6 images around their mean, 5 directions: the mean is the sixth."""
    mean = patchworks.mean(0)
    span = span_of(patchworks, mean)
    found = separated(span, mean)
    assert (len(span), found.images.shape) == (5, (12, *SHAPE))
    alike = correlation(patchworks[:, None], (found.images + mean)[None])
    assert (alike.amax(1) > 0.97).all()
    # as pixels they fill [0, 1]
    assert torch.allclose((found.images + mean).flatten(1).aminmax(dim=1).max, torch.ones(12).double())


def test_support_tells_the_sign(patchworks):
    nothing = torch.zeros(SHAPE).double()
    found = separated(span_of(patchworks - 0.5, nothing), nothing)
    alike = correlation(patchworks[:, None], found.images[None])
    place = alike.argmax(1)
    other = (place + COUNT) % (2 * COUNT)
    assert (found.support[place] > found.support[other]).all()


def test_mixtures_are_nearer_to_normal_than_images(patchworks):
    """E|y| of the components found, against √(2/π) and against no iteration at all."""
    mean = patchworks.mean(0)
    span = span_of(patchworks, mean)
    start = separate(span, mean, 1, torch.Generator().manual_seed(0), torch.float64)
    assert separated(span, mean).normality < start.normality < (2 / torch.pi) ** 0.5


def test_a_trial_is_its_generators(patchworks):
    mean = patchworks.mean(0)
    span = span_of(patchworks, mean)
    assert torch.equal(separated(span, mean).images, separated(span, mean).images)
    assert not torch.equal(separated(span, mean).images, separated(span, mean, seed=1).images)


def test_the_mean_is_a_direction_only_where_it_is_missing():
    directions = torch.eye(4).double()[:2]
    assert len(with_mean(directions, torch.tensor([3.0, 1, 0, 0]).double())) == 2
    assert len(with_mean(directions, torch.zeros(4).double())) == 2
    longer = with_mean(directions, torch.tensor([3.0, 1, 2, 0]).double())
    assert torch.allclose(longer[2], torch.tensor([0.0, 0, 1, 0]).double())


def test_differences_are_those_of_neighbours():
    image = torch.tensor([[[[1.0, 2, 4], [1, 5, 4], [0, 0, 0]]]])
    expected = [1, 2, 4, -1, 0, 0, 0, 3, 0, -1, -5, -4, 1, -5, 0, -1, -8, -4, 3, -3, -4, 1]
    assert differences(image)[0].tolist() == expected


def test_the_nearest_orthogonal_matrix():
    turned = orthogonal(torch.tensor([[2.0, 0.1], [-0.1, 3.0]]))
    assert torch.allclose(turned @ turned.T, torch.eye(2), atol=1e-6)
