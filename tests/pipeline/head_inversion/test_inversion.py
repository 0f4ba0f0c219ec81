"""Coefficients are those of training, slots are in the order of what moved the head, and ν is the noise left over."""

from contextlib import nullcontext
from itertools import cycle, islice, repeat
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.errors import UserError
from pipeline.head_inversion.inversion import HeadInversion, weight_noise
from pipeline.head_inversion.prior import Prior
from pipeline.head_inversion.rows import Rows
from pipeline.head_inversion.settings import UNEXPLAINED
from pipeline.head_inversion.settings import HeadInversion as Settings
from pipeline.head_inversion.slots import Slots
from pipeline.head_inversion.training import (
    Heads,
    calibrate,
    hold_out,
    loss_of,
    measure,
    measure_posterior,
    set_mean_coefficients,
    train_rounds,
)
from pipeline.shadow.descent import shrinkage
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard

MNIST = {"learning_rate": 0.01, "weight_decay": 1e-5, "init_std": 0.002, "epochs": 32}
PRIVATE = {"clip_norm": 4.0, "sample_rate": 0.5, "steps": 64, "noise_multiplier": 1.82}
DATA = 400


def trained(training: Training, inputs: int = 32, class_size: int = 1, models: int = 50, scale: float = 1.0):
    """Features (n, D) of ten classes, and heads (M, P) with their deal (M, N), coefficients and labels."""
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(DATA) % 10
    means = torch.randn(10, inputs, generator=generator)
    features = scale * (means[classes] + 0.5 * torch.randn(DATA, inputs, generator=generator))
    rows = [torch.where(classes == k)[0] for k in range(10)]
    picks = [c[torch.rand(models, len(c), generator=generator).argsort(1)[:, :class_size]] for c in rows]
    indices = torch.cat(picks, 1)
    labels = classes[indices] if training.classes == 10 else classes[indices] % 2
    head = Head(inputs, training.hidden, training.classes)
    initial = torch.empty(models, head.size)
    head.draw(initial, training.init_std, generator)
    coefficients = torch.empty(models, head.rows, indices.shape[1])
    weights = train_shard(features, indices, labels, training, generator, initial, coefficients)
    return head, features, classes, indices, labels, initial, weights, coefficients


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"momentum": 0.9},
        {"batch_size": 5},
        {"classes": 1, "hidden": 8},
        {
            "classes": 1,
            "hidden": 8,
            "epochs": 400,
            "restart": {"loss_below": 0.0259, "attempts": 100},
            "learning_rate": 0.1,
        },
    ],
    ids=["linear", "momentum", "mini-batches", "two layers", "restarts"],
)
def test_first_layers_are_the_initial_weights_and_the_features_times_the_coefficients(changed):
    training = Training(**MNIST | changed)
    head, features, _, indices, _, initial, weights, coefficients = trained(training)
    weight, bias = head.split(weights)[:2]
    remains = shrinkage(training, training.epochs * -(-10 // (training.batch_size or 10)))[-1]
    torch.testing.assert_close(bias, coefficients.sum(2), rtol=1e-4, atol=1e-6)
    if training.restart:  # the initial weights of a second attempt are not known here, but they are small
        left = weight - coefficients @ features[indices]
        assert left.std().item() == pytest.approx(remains * training.init_std, rel=0.05)
        return
    start = head.split(initial)[0]
    torch.testing.assert_close(weight, remains * start + coefficients @ features[indices], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hidden", [None, 8])
def test_what_private_training_adds_beside_them_is_noise_of_the_stated_variance(hidden):
    training = Training(
        learning_rate=0.01,
        init_std=0.002,
        weight_decay=1e-3,
        private=PRIVATE,
        hidden=hidden,
        classes=1 if hidden else 10,
    )
    head, features, _, indices, _, _, weights, coefficients = trained(training, models=400)
    weight, bias = head.split(weights)[:2]
    left = weight - coefficients @ features[indices]
    expected = weight_noise(training, 32, 10, PRIVATE["noise_multiplier"])
    assert left.square().mean().item() == pytest.approx(expected, rel=0.02)
    without_start = expected - (shrinkage(training, 64)[-1] * 0.002) ** 2
    assert (bias - coefficients.sum(2)).square().mean().item() == pytest.approx(without_start, rel=0.1)


def inversion_for(head, features, classes, training, class_size=1, task="multiclass"):
    prior = Prior.of(features, classes, 1.0)
    labels = torch.arange(10).repeat_interleave(class_size)
    slots = Slots.of(labels, class_size, task, linear=training.hidden is None, foreign=False)
    noise = weight_noise(training, head.inputs, len(labels), None)
    return HeadInversion(prior, slots, head, noise, 2, 16), prior


@pytest.mark.parametrize("class_size", [1, 4])
def test_true_coefficients_recover_features_as_well_as_the_posterior_expects(class_size):
    """The error found is the one expected, on average over heads, where the prior is the truth: Gaussian features."""
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training, class_size=class_size, models=200)
    inversion, prior = inversion_for(head, features, classes, training, class_size)
    heads = Heads.of(inversion.slots, weights, indices, coefficients, features @ prior.directions)
    measured = measure_posterior(inversion, heads, heads.coefficients)
    assert measured.found.mean().item() == pytest.approx(measured.expected.mean().item(), rel=0.1)
    if class_size == 1:
        assert measured.cosine.mean() > 0.9


def test_the_expected_error_is_calibrated_on_held_out_images_alone():
    """Those of the other images differ by construction; that of held-out ones is then what is found, slot by slot."""
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training, class_size=4, models=200)
    inversion, prior = inversion_for(head, features, classes, training, 4)
    apart = torch.arange(DATA) % 3 == 0
    projected = features @ prior.directions
    projected = torch.where(apart[:, None], projected, 100.0)
    heads = Heads.of(inversion.slots, weights, indices, coefficients, projected, apart)
    count = calibrate(inversion, repeat(heads))
    assert count == 10 * apart[indices].sum()  # HEADS_TO_CALIBRATE are ten times these
    measured = measure(inversion, heads)
    of_slots = [(heads.held_out * table).sum(0) for table in (measured.found, measured.expected)]
    torch.testing.assert_close(*of_slots, rtol=0.05, atol=0)


def test_held_out_are_some_images_of_every_class_that_can_spare_one():
    labels = np.repeat([0, 1, 2], [200, 5, 1])
    chosen = hold_out(labels, np.random.default_rng(0))
    assert np.bincount(labels[chosen], minlength=3).tolist() == [10, 1, 0]
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training)
    inversion, prior = inversion_for(head, features, classes, training)
    none = Heads.of(inversion.slots, weights, indices, coefficients, features @ prior.directions)
    with pytest.raises(UserError, match="no class has two images"):
        calibrate(inversion, repeat(none))


def test_held_out_images_teach_nothing():
    """Whatever stands for their features, the loss and its gradient are the same."""
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training)
    inversion, prior = inversion_for(head, features, classes, training)
    inversion.initialise(torch.Generator().manual_seed(0))
    apart = torch.arange(DATA) % 3 == 0
    gradients = []
    for projected in (features @ prior.directions, torch.where(apart[:, None], 7.0, features @ prior.directions)):
        heads = Heads.of(inversion.slots, weights, indices, coefficients, projected, apart)
        inversion.zero_grad()
        loss_of(inversion, heads, nullcontext()).backward()
        gradients.append([parameter.grad for parameter in inversion.parameters() if parameter.grad is not None])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
    assert any(gradient.abs().sum() > 0 for gradient in gradients[0])


def test_learning_the_error_changes_nothing_of_the_features():
    """No gradient of what is told of the error reaches the rounds."""
    training = Training(**MNIST)
    head, features, classes, _, _, _, weights, _ = trained(training)
    inversion, _ = inversion_for(head, features, classes, training)
    inversion.initialise(torch.Generator().manual_seed(0))
    *_, (_, _, log_error) = inversion.steps(weights)
    log_error.sum().backward()
    assert all(parameter.grad is None for parameter in inversion.rounds.parameters())
    assert inversion.judge.correct[-1].bias.grad != 0


def test_the_image_that_moved_its_class_most_comes_first():
    training = Training(**MNIST)
    _, _, classes, indices, _, _, _, coefficients = trained(training, class_size=4)
    slots = Slots.of(torch.arange(10).repeat_interleave(4), 4, "multiclass", linear=True, foreign=False)
    order = slots.order(coefficients)
    for model in range(3):
        own = coefficients[model, torch.arange(10).repeat_interleave(4), order[model]].view(10, 4)
        assert (own.diff(dim=1) <= 0).all()
        assert (classes[indices[model, order[model]]].view(10, 4) == torch.arange(10)[:, None]).all()
    assert slots.ranks.tolist() == [0, 1, 2, 3] * 10


def test_an_identitys_photos_stay_apart_from_the_others_and_share_one_prior():
    slots = Slots.of(torch.tensor([1, 1, *[0] * 18]), 2, "identity", linear=False, foreign=False)
    order = slots.order(torch.randn(7, 4, 20, generator=torch.Generator().manual_seed(0)))
    assert slots.classes.unique().tolist() == [0]
    assert (order[:, :2].sort(1).values == torch.arange(2)).all()


def test_hidden_units_in_another_order_are_read_alike():
    head = Head(6, 8, 1)
    weights = torch.randn(3, head.size, generator=torch.Generator().manual_seed(0))
    weight, bias, upper, top = head.split(weights)
    turn = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    turned = torch.cat([part.flatten(1) for part in (weight[:, turn], bias[:, turn], upper[:, :, turn], top)], 1)
    directions = torch.eye(6)
    one, other = (Rows(head.split(flat), directions) for flat in (weights, turned))
    torch.testing.assert_close(one.weights, other.weights)
    coefficients = torch.randn(3, 8, 4)
    torch.testing.assert_close(one.arrange(coefficients), other.arrange(coefficients[:, turn]))


def test_a_stored_inversion_is_the_one_that_was_stored():
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training)
    inversion, prior = inversion_for(head, features, classes, training)
    heads = Heads.of(inversion.slots, weights, indices, coefficients, features @ prior.directions)
    set_mean_coefficients(inversion, repeat(heads))
    again = HeadInversion.from_state(head, inversion.state_dict())
    torch.testing.assert_close(again.invert(weights).features, inversion.invert(weights).features, rtol=0, atol=0)
    assert again.slots.blocks == inversion.slots.blocks


@pytest.fixture(scope="module")
def learnt():
    """An inversion of linear heads, learnt quickly, with heads of the same recipe that it has not seen."""
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training, models=600)
    inversion, prior = inversion_for(head, features, classes, training)
    heads = Heads.of(
        inversion.slots, weights, indices, coefficients, features @ prior.directions, torch.arange(DATA) // 10 % 10 == 0
    )
    parts = [Heads(*(column[rows] for column in vars(heads).values())) for rows in torch.arange(500).split(100)]
    train_rounds(
        inversion,
        lambda step: islice(cycle(parts), step % len(parts), None),
        Settings(rounds=2, width=16, steps=40),
        purpose=("test",),
        checkpoint=Checkpoint(Path("/nonexistent"), "", period=float("inf")),
        progress=lambda *_: None,
    )
    calibrate(inversion, cycle(parts))
    return inversion, training, features, classes, weights[500:], indices[500:]


def heads_of(training, features, indices, labels):
    """Heads (M, P) trained on sets (M, N) with these labels."""
    generator = torch.Generator().manual_seed(5)
    head = Head(features.shape[1], None, 10)
    initial = torch.empty(len(indices), head.size)
    head.draw(initial, training.init_std, generator)
    return train_shard(features, indices, labels, training, generator, initial, None)


def test_heads_of_the_recipe_are_known_and_their_images_told_better_than_by_the_prior(learnt):
    inversion, _, _, _, weights, _ = learnt
    assert not inversion.unlike(weights).any()
    assert (inversion.invert(weights).error < inversion.prior_error).double().mean() > 0.9


@pytest.mark.parametrize("case", ["never trained", "a class missing", "another rate", "labels shuffled"])
def test_nothing_is_claimed_of_a_head_that_the_recipe_does_not_make(learnt, case):
    """The expected error is no smaller than that of guessing class means."""
    inversion, training, features, classes, weights, indices = learnt
    labels = classes[indices]
    if case == "never trained":
        strange = torch.empty_like(weights)
        inversion.head.draw(strange, training.init_std, torch.Generator().manual_seed(0))
    elif case == "a class missing":
        strange = heads_of(training, features, indices[:, 1:], labels[:, 1:])
    elif case == "another rate":
        strange = heads_of(training.model_copy(update={"learning_rate": 0.1}), features, indices, labels)
    else:
        strange = heads_of(training, features, indices, labels.roll(1, 1))
    assert inversion.unlike(strange).double().mean() > 0.95
    error = inversion.invert(strange).error
    assert (error[inversion.unlike(strange)] >= inversion.prior_error).all()


def test_two_equal_images_in_a_set_are_told_no_better_than_they_are():
    """Four images a class, the first two of class 0 the same picture."""
    training = Training(**MNIST)
    head, features, classes, indices, _, _, weights, coefficients = trained(training, class_size=4, models=300)
    inversion, prior = inversion_for(head, features, classes, training, 4)
    indices[:, 1] = indices[:, 0]
    initial, found = torch.empty(300, head.size), torch.empty_like(coefficients)
    head.draw(initial, training.init_std, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    weights = train_shard(features, indices, classes[indices], training, generator, initial, found)
    measured = measure_posterior(
        inversion, Heads.of(inversion.slots, weights, indices, found, features @ prior.directions), found
    )
    assert all(table.isfinite().all() for table in vars(measured).values())
    assert measured.expected[:, :2].mean() > 0.5 * measured.found[:, :2].mean()


@pytest.mark.parametrize("hidden", [None, 4])
def test_one_image_alone_is_recovered(hidden):
    """N = 1, one logit: the head is its only image, and the posterior knows."""
    training = Training(**MNIST | {"classes": 1, "hidden": hidden, "learning_rate": 0.1})
    generator = torch.Generator().manual_seed(0)
    features = 1 + torch.rand(200, 32, generator=generator)
    head = Head(32, hidden, 1)
    initial, coefficients = torch.empty(200, head.size), torch.empty(200, head.rows, 1)
    head.draw(initial, training.init_std, generator)
    indices, labels = torch.arange(200)[:, None], torch.ones(200, 1, dtype=torch.int64)
    weights = train_shard(features, indices, labels, training, generator, initial, coefficients)
    prior = Prior.of(features, torch.zeros(200, dtype=torch.int64), 1.0)
    slots = Slots.of(torch.ones(1), 1, "binary", linear=hidden is None, foreign=False)
    inversion = HeadInversion(prior, slots, head, weight_noise(training, 32, 1, None), 1, 8)
    heads = Heads.of(slots, weights, indices, coefficients, features @ prior.directions)
    measured = measure_posterior(inversion, heads, heads.coefficients)
    assert measured.cosine.median() > 0.98  # hidden units that no image moves tell nothing
    assert measured.found.mean().item() == pytest.approx(measured.expected.mean().item(), rel=0.2)
    assert inversion.invert(weights).features.isfinite().all()


def test_heads_that_nobody_trained_leave_the_prior_and_say_so():
    """A recipe that learns nothing: the coefficients are 0, and so is what is recovered beyond class means."""
    training = Training(**MNIST | {"learning_rate": 1e-12})
    head, features, classes, indices, _, _, weights, coefficients = trained(training)
    inversion, prior = inversion_for(head, features, classes, training)
    heads = Heads.of(inversion.slots, weights, indices, coefficients, features @ prior.directions)
    set_mean_coefficients(inversion, repeat(heads))
    measured = measure_posterior(inversion, heads, inversion.mean_coefficients)
    torch.testing.assert_close(measured.expected, torch.full_like(measured.expected, inversion.prior_error))
    assert measured.cosine.abs().mean() < 0.2


def test_where_nothing_in_a_weight_is_random_the_noise_is_a_share_of_it():
    prior = Prior(torch.eye(4, 3), torch.zeros(2, 3), torch.ones(3), 1.0)
    slots = Slots.of(torch.arange(2), 1, "multiclass", linear=True, foreign=False)
    weights = torch.full((1, 10), 2.0)
    for noise, expected in ((0.0, 4.0 * UNEXPLAINED), (0.5, 0.5)):
        inversion = HeadInversion(prior, slots, Head(4, None, 2), noise, 1, 4)
        assert inversion.noise_in(inversion.rows(weights)).item() == pytest.approx(expected)
