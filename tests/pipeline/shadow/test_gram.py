"""Training in sample space is the plain loop: the same initial weights lead to the same weights."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import models_per_block, train_heads, train_shard
from tests.reference.shadow_training import train_plainly

MNIST = {"learning_rate": 0.01, "weight_decay": 1e-5, "init_std": 0.002}
CIFAR = {"learning_rate": 0.01, "weight_decay": 1e-4, "init_std": 0.0002}
CELEBA = {
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "init_std": 0.0002,
    "epochs": 100,
    "classes": 1,
    "hidden": 4,
    "positive_weight": 10.0,
}
BINARY = {"classes": 1, "hidden": 8}


def shadow_data(training: Training, inputs: int, class_size: int, models: int = 3, seed: int = 0):
    """ReLU-like features (M, N, D), labels (M, N) and initial weights (M, P)."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(models, 10 * class_size, inputs, generator=generator).relu_()
    digits = torch.arange(10).repeat_interleave(class_size).expand(models, -1)
    labels = digits if training.classes == 10 else (digits == 0 if training.hidden == 4 else digits % 2).long()
    head = Head(inputs, training.hidden, training.classes)
    initial = torch.empty(models, head.size)
    head.draw(initial, training.init_std, generator)
    return features, labels, initial


def worst_difference(training: Training, inputs: int, class_size: int, device, judge=torch.float32) -> float:
    """Largest difference of any weight to the plain loop run in `judge`'s precision."""
    features, labels, initial = shadow_data(training, inputs, class_size)
    weights = train_heads(features.to(device), labels, training, torch.Generator(device), initial.to(device)).cpu()
    sets = zip(features.to(judge), labels, initial.to(judge), strict=True)
    plain = torch.stack([train_plainly(*one, training, start) for *one, start in sets])
    return (weights - plain).abs().max().item()


@pytest.mark.parametrize("class_size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("inputs", "terms"),
    [
        pytest.param(256, MNIST | {"epochs": 26 + 6 * 4}, id="mnist"),
        pytest.param(
            256, MNIST | BINARY | {"epochs": 26 + 6, "learning_rate": 0.1, "weight_decay": 1e-4}, id="mnist binary"
        ),
        pytest.param(1280, CIFAR | {"epochs": 38 + 10}, id="cifar"),
        pytest.param(1280, CIFAR | BINARY | {"epochs": 38 + 10, "learning_rate": 0.05}, id="cifar binary"),
        pytest.param(2048, CELEBA, id="celeba"),
        pytest.param(256, MNIST | {"epochs": 32, "momentum": 0.9}, id="momentum"),
        pytest.param(256, MNIST | BINARY | {"epochs": 32, "momentum": 0.9}, id="momentum, two layers"),
        pytest.param(256, MNIST | {"epochs": 32, "batch_size": 5}, id="fixed mini-batches"),
        pytest.param(
            256, MNIST | BINARY | {"epochs": 32, "batch_size": 10, "momentum": 0.5}, id="fixed mini-batches, two layers"
        ),
    ],
)
def test_same_initial_weights_give_the_plain_loops_weights(inputs, terms, class_size, device):
    assert worst_difference(Training(**terms), inputs, class_size, device) <= 1e-6


def test_the_weights_moved_as_far_as_training_should_move_them():
    training = Training(**MNIST, epochs=32)
    features, labels, initial = shadow_data(training, 256, 1)
    weights = train_heads(features, labels, training, torch.Generator(), initial)
    assert (weights - initial).abs().max() > 0.01


@pytest.mark.parametrize("epochs", [1, 512])
@pytest.mark.parametrize("init_std", [2e-4, 0.2])
def test_the_ends_of_the_factor_studies(epochs, init_std, device):
    """After 512 epochs a float32 loop is itself 3e-6 off, so the loop judges in float64 here."""
    training = Training(**MNIST | {"epochs": epochs, "init_std": init_std})
    assert worst_difference(training, 256, 1, device, judge=torch.float64) <= 1e-6


@pytest.mark.parametrize("head", [{}, BINARY], ids=["linear", "two layers"])
@pytest.mark.parametrize("value", ["duplicate", 0.0, 0.7])
def test_duplicate_images_and_constant_features(head, value):
    training = Training(**MNIST | head, epochs=32)
    features, labels, initial = shadow_data(training, 256, 1)
    if value == "duplicate":
        features[:, 4:7] = features[:, :1]
    else:
        features.fill_(value)
    weights = train_heads(features, labels, training, torch.Generator(), initial)
    plain = [train_plainly(*one, training, start) for *one, start in zip(features, labels, initial, strict=True)]
    assert (weights - torch.stack(plain)).abs().max() <= 1e-6


def test_unstable_descent_is_exact_where_a_float32_loop_is_not():
    """Features as long and alike as a real backbone's, lr·λ/N near 180: rounding grows, in the plain loop too."""
    training = Training(**MNIST, epochs=32)
    features, labels, initial = shadow_data(training, 256, 1)
    features = 5 * features + 10 * features[0, 0]
    weights = train_heads(features, labels, training, torch.Generator(), initial)
    sets = list(zip(features, labels, initial, strict=True))
    single = torch.stack([train_plainly(*one, training, start) for *one, start in sets])
    exact = torch.stack([train_plainly(x.double(), y, training, start.double()) for x, y, start in sets])
    assert (weights - exact).abs().max() <= 1e-6
    assert (single - exact).abs().max() > 1e-4


def test_float64_on_request():
    training = Training(**MNIST, epochs=32, dtype="float64")
    features, labels, initial = shadow_data(training, 64, 1)
    weights = train_heads(features, labels, training, torch.Generator(), initial.double())
    plain = train_plainly(features[0].double(), labels[0], training, initial[0].double())
    assert weights.dtype == torch.float64
    assert (weights[0] - plain).abs().max() <= 1e-14


def test_a_shard_is_its_models_and_fresh_initial_weights_have_the_stated_law():
    training = Training(**MNIST, epochs=1)
    features = torch.randn(50, 32, generator=torch.Generator().manual_seed(1))
    indices = torch.stack([torch.randperm(50, generator=torch.Generator().manual_seed(i))[:10] for i in range(40)])
    labels = torch.arange(10).expand(40, 10)
    shard = train_shard(features, indices, labels, training, torch.Generator().manual_seed(2))
    again = train_heads(features[indices], labels, training, torch.Generator().manual_seed(2))
    assert torch.equal(shard, again)

    still = Training(**MNIST | {"epochs": 1, "learning_rate": 1e-30})
    start = train_shard(features, indices, labels, still, torch.Generator().manual_seed(2))
    weight, bias = Head(32, None, 10).split(start)
    assert abs(weight.std().item() / 0.002 - 1) < 0.02
    assert bias.abs().max() < 1e-20


def test_a_block_holds_at_least_one_model_and_depends_on_shapes_alone():
    assert models_per_block(Head(10**7, None, 10), 40, torch.device("cpu")) == 1
    assert models_per_block(Head(256, None, 10), 10, torch.device("cpu")) > 100


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_name_the_model(value):
    training = Training(**MNIST, epochs=1)
    features, labels, initial = shadow_data(training, 16, 1)
    features[2, 3, 5] = value
    with pytest.raises(UserError, match=r"^model 2: .*not finite"):
        train_heads(features, labels, training, torch.Generator(), initial)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_outside_the_classes_names_the_model(label):
    training = Training(**MNIST, epochs=1)
    features, labels, initial = shadow_data(training, 16, 1)
    labels = labels.clone()
    labels[1, 0] = label
    with pytest.raises(UserError, match=r"^model 1: .*classes 0 … 9"):
        train_heads(features, labels, training, torch.Generator(), initial)


def test_a_set_that_does_not_divide_into_batches_is_refused():
    training = Training(**MNIST, epochs=1, batch_size=3)
    features, labels, initial = shadow_data(training, 16, 1)
    with pytest.raises(UserError, match="10 do not divide into batches of 3"):
        train_heads(features, labels, training, torch.Generator(), initial)
