"""Nulls are honest: what learns nothing from weights scores chance against each of them, what knows all scores 1."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.evaluation.min_mse import min_mse
from pipeline.evaluation.nulls import null_readings, other_victims
from pipeline.evaluation.rates import rates
from pipeline.evaluation.reading import WeightReader
from pipeline.evaluation.victims import VictimSet
from pipeline.statistics import Standardisation, correlation, moments_of

NULLS = ("correlation", "shards", "other_victims")
VICTIMS, CLASSES, WIDTH = 120, 3, 12


class Stub(nn.Module):
    """A conditional reconstructor whose image is a function of its input and class; `classes` as the real one has."""

    classes = CLASSES

    def __init__(self, image_of):
        super().__init__()
        self.image_of = image_of

    def forward(self, z, label):
        return self.image_of(z, label)


@pytest.fixture(scope="module")
def world():
    """Victims whose first three weights name their images: one of each class, drawn from 8×8 noise of its own mean."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(VICTIMS * CLASSES) % CLASSES
    images = torch.randint(0, 120, (len(labels), 1, 8, 8), dtype=torch.uint8, generator=generator)
    images += (60 * labels).to(torch.uint8)[:, None, None, None]
    indices = torch.arange(len(labels)).view(VICTIMS, CLASSES)
    weights = torch.randn(VICTIMS, WIDTH, generator=generator)
    weights[:, 0] = torch.arange(VICTIMS) / VICTIMS
    standardise = Standardisation.of(moments_of([weights]))
    reading = reader_of(standardise).read(weights)
    return VictimSet(reading, images, indices[:, :, None]), standardise, weights


def reader_of(standardise):
    return WeightReader(standardise, CLASSES, conditional=True)


def scored(network, world):
    """H0, and H1 (V, 2·G) of two draws from every null."""
    victims, standardise, weights = world
    h1 = {}
    for null in NULLS:
        drawn = null_readings(
            null,
            2,
            victims,
            victims.groups[:, :, 0].numpy(),
            None,
            reader=reader_of(standardise),
            correlation=lambda: correlation([weights], standardise),
            blocks=lambda: [weights[:50], weights[50:]],
            standardise=standardise,
            purpose=("test", null),
        )
        h1[null] = np.concatenate(
            [min_mse(network, victims.with_reading(reading)).distances for reading in drawn], axis=1
        )
    return min_mse(network, victims).distances, h1


def unit(images):
    return images.float() / 127.5 - 1


def ignoring(world):
    fixed = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    return lambda z, label: fixed.expand(len(z), 1, 8, 8)


def class_mean(world):
    means = torch.stack([unit(world[0].images[k::CLASSES]).mean(0) for k in range(CLASSES)])
    return lambda z, label: means[label]


def noisy_class_mean(world):
    """Depends on the weights, and on nothing that they say of the images."""
    mean = class_mean(world)
    return lambda z, label: (mean(z, label) + 0.2 * torch.tanh(z[:, 1:2, None, None])).clamp(-1, 1)


@pytest.mark.parametrize("learnt_nothing", [ignoring, class_mean, noisy_class_mean])
def test_a_reconstructor_that_learnt_nothing_scores_chance_against_every_null(world, learnt_nothing):
    h0, h1 = scored(Stub(learnt_nothing(world)), world)
    for null in NULLS:
        _, low, high = rates(h0, h1[null], 0.1, (0.1,), 200, np.random.default_rng(0)).auc
        assert low <= 0.5 <= high, null
        assert high - low < 0.12


def test_a_reconstructor_that_knows_all_scores_1_against_every_null(world):
    victims, _, _ = world
    images = unit(victims.images[victims.groups[:, :, 0]])

    def recall(z, label):
        """The images of the victim whose weights these are; black for nobody's."""
        same = (z[:, None] - victims.reading.inputs[:, 0]).abs().amax(2) < 1e-6
        return torch.where(same.any(1)[:, None, None, None], images[same.float().argmax(1), label], -1.0)

    h0, h1 = scored(Stub(recall), world)
    assert h0.max() == 0
    for null in NULLS:
        found = rates(h0, h1[null], 0.1, (0.01, 0.1), 50, np.random.default_rng(0))
        assert found.auc[0] == 1
        assert found.tpr[0, :, 0] == pytest.approx(1)
        assert found.threshold_tpr[0] == 1


def test_every_victim_gives_its_weights_to_another_without_a_common_image():
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 400, (300, 5))  # some pairs share one
    partner = other_victims(indices, indices, np.random.default_rng(1))
    assert sorted(partner) == list(range(300))
    assert not any(set(indices[v]) & set(indices[partner[v]]) for v in range(300))
    assert np.array_equal(partner, other_victims(indices, indices, np.random.default_rng(1)))


def test_no_persons_weights_are_held_against_another_victim_about_that_person():
    rng = np.random.default_rng(0)
    indices, persons = np.arange(600).reshape(200, 3), rng.permutation(np.repeat(np.arange(5), 40))
    partner = other_victims(indices[:, :1], indices, np.random.default_rng(1), persons)
    assert sorted(partner) == list(range(200))
    assert (persons[partner] != persons).all()
    without = other_victims(indices[:, :1], indices, np.random.default_rng(1))
    assert (persons[without] == persons).any()


@pytest.mark.parametrize("indices", [np.array([[1, 2]]), np.array([[1, 2], [2, 3], [1, 3]])])
def test_victims_that_cannot_be_exchanged_are_an_error(indices):
    with pytest.raises(UserError, match=r"evaluation.nulls: \d of \d victims found no other that was trained on none"):
        other_victims(indices, indices, np.random.default_rng(0))
