"""Batches: the zeros that ReLU leaves tell the images apart, up to what the counting allows."""

import pytest
import torch

from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.minibatch import features_of_batches
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.step import gradients_of_steps
from pipeline.randomness import torch_generator


@pytest.fixture
def batch(synthetic):
    def make(size, filters=(16, 64, 64, 64), activation=None, classes=100, shape=(3, 32, 32)):
        images, labels = synthetic(size, shape, classes=classes)
        options = {"init": "default", "filters": filters, "activation": activation}
        module = build("lenet", shape, classes, torch_generator("batch"), **options)
        return read_network(module, shape), gradients_of_steps(module, images[None], labels[None]), images, labels

    return make


def worst_match(estimate, images):
    """MSE of the worst image against its nearest reconstruction: the order within a batch is lost."""
    return (estimate[:, None] - images[None]).square().mean((2, 3, 4)).amin(0).max()


def test_eight_images_are_exact(batch):
    network, gradient, images, labels = batch(8)
    found = attack(network, gradient, batch_size=8)
    assert found.refusals == (None,)
    assert worst_match(found.images[0], images) < 1e-18
    assert sorted(found.labels[0].tolist()) == sorted(labels.tolist())


def test_features_are_those_of_the_forward_pass(batch):
    network, gradient, images, _ = batch(6, (4, 8, 64, 64), shape=(1, 16, 16))
    found = features_of_batches(network, gradient, 6, torch.tensor([2.2e-16], dtype=torch.float64))
    features = network.module[:-1](images).detach()
    distance = torch.cdist(found.value[0], features).amin(0)
    assert (distance / features.norm(dim=1)).max() < 1e-9


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (10, {"classes": 10}, "its gradient keeps at most 9 images apart, not 10"),
        (3, {"activation": "tanh"}, "behind a ReLU"),
        (6, {}, "not recoverable"),
    ],
)
def test_beyond_the_count_is_refused_in_words(batch, size, options, words):
    network, gradient, _, _ = batch(size, **{"filters": (4, 8, 64, 64)} | options)
    found = attack(network, gradient, batch_size=size)
    assert words in found.refusals[0]
    assert found.images.isnan().all()


def test_a_wrong_batch_size_is_refused(batch):
    network, gradient, _, _ = batch(4, (4, 8, 64, 64))
    assert "rank 4" in attack(network, gradient, batch_size=3).refusals[0]
