"""Whole batches behind a hidden ReLU layer: every image exact and certified, or refused in words."""

import pytest
import torch

from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.batches.logits import inputs_by_logits
from pipeline.gradient_inversion.batches.mixture import HiddenLayer, mixture, rank_one_residual
from pipeline.gradient_inversion.batches.polish import Directions, null_vectors
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.step import gradients_of_steps
from pipeline.randomness import torch_generator

SHAPE = (1, 16, 16)


@pytest.fixture
def exposed_batch(synthetic):
    """`exposed_batch(size, …)`: a network read as a chain, the mean gradient of a batch, its images and labels."""

    def make(size, hidden=(400,), centred=True, name="fully_connected", classes=10, repeat=0, **options):
        images, labels = synthetic(size, SHAPE, classes=classes)
        if centred:
            images = (images - images.mean()) / images.std()
        if repeat:
            images, labels = (
                torch.cat([images[:-repeat], images[:repeat]]),
                torch.cat([labels[:-repeat], labels[:repeat]]),
            )
        module = build(name, SHAPE, classes, torch_generator("batches"), init="default", hidden=hidden, **options)
        return read_network(module, SHAPE), gradients_of_steps(module, images[None], labels[None]), images, labels

    return make


def assert_recovered(found, images, labels, worst):
    """Every image once, with its own label, and certified."""
    errors = (found.images[0][:, None] - images[None]).square().mean((2, 3, 4))
    nearest = errors.argmin(1)
    assert errors.amin(1).max() < worst
    assert sorted(nearest.tolist()) == list(range(len(images)))
    assert found.labels[0].tolist() == labels[nearest].tolist()
    assert found.refusals == (None,)
    assert found.certified.all()


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("hidden", [(400,), (300, 400), (200, 300, 400)])
def test_every_image_is_exact_whatever_the_depth(exposed_batch, hidden, centred):
    network, gradient, images, labels = exposed_batch(40, hidden, centred)
    assert_recovered(attack(network, gradient, batch_size=40), images, labels, 1e-18)


@pytest.mark.parametrize("centred", [False, True])
def test_rounding_to_float32_costs_digits_and_no_image(exposed_batch, centred):
    network, gradient, images, labels = exposed_batch(40, centred=centred)
    rounded = {name: part.float() for name, part in gradient.items()}
    assert_recovered(attack(network, rounded, batch_size=40), images, labels, 1e-10)


def test_many_classes_and_one_logistic_output(exposed_batch):
    network, gradient, images, labels = exposed_batch(30, classes=100)
    assert_recovered(attack(network, gradient, batch_size=30), images, labels, 1e-18)
    network, gradient, images, labels = exposed_batch(30, classes=2, name="fully_connected")
    assert_recovered(attack(network, gradient, batch_size=30), images, labels, 1e-18)


def test_behind_convolutions_images_follow_from_their_features(exposed_batch):
    options = {"name": "lenet", "activation": "relu", "filters": (8, 32, 64, 64)}
    network, gradient, images, labels = exposed_batch(6, **options)
    assert_recovered(attack(network, gradient, batch_size=6), images, labels, 1e-18)


def test_each_image_says_which_method_found_it(exposed_batch):
    def methods(centred):
        network, gradient, _, _ = exposed_batch(40, centred=centred)
        return set(attack(network, gradient, batch_size=40).found_by[0])

    assert methods(centred=True) <= {"peeling", "search"}
    assert "search" in methods(centred=True)
    assert "peeling" in methods(centred=False)


def test_an_image_that_is_there_twice_is_given_twice(exposed_batch):
    network, gradient, images, labels = exposed_batch(20, repeat=3)
    found = attack(network, gradient, batch_size=20)
    errors = (found.images[0][:, None] - images[None]).square().mean((2, 3, 4))
    assert errors.amin(0).max() < 1e-18
    assert errors.amin(1).max() < 1e-18
    assert sorted(found.labels[0].tolist()) == sorted(labels.tolist())


def test_the_same_gradient_gives_the_same_bytes(exposed_batch):
    network, gradient, _, _ = exposed_batch(40)
    first, again = (attack(network, gradient, batch_size=40).estimate for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (60, {"hidden": (80,), "centred": True}, "peeling found"),
        (60, {"hidden": (40,)}, "at most 40 images apart, not 60"),
        (10, {"hidden": (40,), "classes": 100, "activation": "relu"}, "peeling found"),
        (20, {"wrong_size": 19}, "a rank above 19"),
        (10, {"activation": "leaky_relu"}, "LeakyReLU leaves none"),
        (10, {"activation": "tanh"}, "Tanh leaves none"),
    ],
)
def test_what_cannot_be_unmixed_is_refused_in_words(exposed_batch, size, options, words):
    options = dict(options)
    told = options.pop("wrong_size", size)
    network, gradient, _, _ = exposed_batch(size, **options)
    found = attack(network, gradient, batch_size=told, starts_per_image=5)
    assert words in found.refusals[0]
    assert not found.success.any()


def test_an_image_of_a_batch_that_stalls_is_certified_alone(exposed_batch):
    network, gradient, images, _ = exposed_batch(60, hidden=(150,), centred=False)
    found = attack(network, gradient, batch_size=60, starts_per_image=1)
    certified = found.certified[0]
    assert not found.success[0]
    assert 0 < certified.sum() < 60
    errors = (found.images[0][certified][:, None] - images[None]).square().mean((2, 3, 4))
    assert errors.amin(1).max() < 1e-14
    assert found.images[0][~certified].isnan().all()


def test_a_mixture_of_images_is_never_certified():
    """Images with their own labels lower the rank of the gradient by one; mixed or with another label they do not."""
    generator = torch_generator("rank one")

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    layer = HiddenLayer(normal(60, 30) / 5, normal(60) / 5, normal(10, 60) / 8, normal(10) / 8)
    inputs, labels = normal(8, 30), torch.arange(8)
    deltas = layer.deltas(inputs, labels)
    matrix = deltas.T @ torch.cat([inputs, torch.ones(8, 1)], 1) / 8
    mixed = mixture(matrix, 2.2e-16, 8)
    assert rank_one_residual(mixed, layer, inputs, labels, 8).max() < 1e-10
    assert rank_one_residual(mixed, layer, inputs, labels + 1, 8).min() > 0.1
    assert rank_one_residual(mixed, layer, (inputs[:1] + inputs[1:]) / 2, labels[1:], 8).min() > 0.1
    for b in range(8):
        rest = matrix - torch.outer(deltas[b], torch.cat([inputs[b], torch.ones(1)])) / 8
        assert int(torch.linalg.matrix_rank(rest)) == 7


@pytest.mark.parametrize(("missing", "enough"), [(1, True), (4, True), (8, True), (9, False)])
def test_images_found_follow_from_their_logits_where_others_are_missing(missing, enough):
    """Up to K − 2 = 8 missing δ of 12; with more the logits are too few, and nothing is given."""
    generator = torch_generator("logits")

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    layer = HiddenLayer(normal(80, 30) / 5, normal(80) / 5, normal(10, 80) / 8, normal(10) / 8)
    inputs, labels = normal(12, 30), torch.arange(12) % 10
    deltas = layer.deltas(inputs, labels)
    mixed = mixture(deltas.T @ torch.cat([inputs, torch.ones(12, 1)], 1) / 12, 2.2e-16, 12)
    signs = (-1.0) ** torch.arange(12)[:, None]
    coordinates = signs * torch.nn.functional.normalize(deltas @ mixed.left, dim=1)
    found = slice(12 - missing)
    given, own = inputs_by_logits(mixed, layer, Directions(coordinates[found], deltas[found] != 0, labels[found]), 12)
    assert own.tolist() == labels[found].tolist()
    if enough:
        assert (given - inputs[found]).abs().max() < 1e-6
    else:
        assert given.isnan().all()


def test_one_image_that_is_left_alone_has_no_second_direction():
    left = torch.nn.functional.normalize(torch.arange(1.0, 7.0, dtype=torch.float64), dim=0)[:, None]
    vectors, second = null_vectors(left, torch.tensor([[True, True, False, False, False, False]]))
    assert vectors.abs().tolist() == [[1.0]]
    assert second.tolist() == [torch.inf]
