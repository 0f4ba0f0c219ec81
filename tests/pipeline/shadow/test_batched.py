"""Optimizers whose steps leave the span of the data: many heads at once in weight space, as the plain loop."""

import pytest
import torch

from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_heads
from tests.pipeline.shadow.test_gram import BINARY, MNIST, shadow_data
from tests.reference.shadow_training import train_plainly

OPTIMIZERS = ["adam", "adamw", "adamax", "adadelta", "adagrad", "asgd", "nadam", "radam", "rmsprop", "rprop"]


def worst_difference(training: Training, class_size: int, dtype: torch.dtype, device) -> float:
    features, labels, initial = shadow_data(training, 64, class_size)
    features, initial = features.to(dtype), initial.to(dtype)
    weights = train_heads(features.to(device), labels, training, torch.Generator(device), initial.to(device)).cpu()
    plain = [train_plainly(*one, training, start) for *one, start in zip(features, labels, initial, strict=True)]
    return (weights - torch.stack(plain)).abs().max().item()


@pytest.mark.parametrize("head", [{}, BINARY], ids=["linear", "two layers"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_gives_the_plain_loops_weights(optimizer, head, device):
    terms = MNIST | head | {"optimizer": optimizer, "epochs": 20, "learning_rate": 1e-3, "dtype": "float64"}
    if optimizer == "rprop":
        terms["weight_decay"] = 0.0
    assert worst_difference(Training(**terms), 1, torch.float64, device) <= 1e-9


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("class_size", [1, 2, 3, 4])
def test_adam_in_single_precision(class_size, batch_size, device):
    terms = MNIST | {"optimizer": "adam", "epochs": 32, "learning_rate": 1e-3, "batch_size": batch_size}
    assert worst_difference(Training(**terms), class_size, torch.float32, device) <= 1e-6
