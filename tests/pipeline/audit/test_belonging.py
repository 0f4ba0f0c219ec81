"""Recipe, images and weights belong together, or it is said which part of the recipe is off."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.audit.belonging import DESCRIBED, Fit, compare, suspect
from pipeline.errors import Failure
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_heads

FEATURES, CLASSES = 40, 5
TOLD = Training(classes=CLASSES, learning_rate=0.05, epochs=20, weight_decay=1e-4, init_std=0.01)


def images(seed: int) -> torch.Tensor:
    """(1, N, D) features as behind a ReLU."""
    return torch.randn(1, CLASSES, FEATURES, generator=torch.Generator().manual_seed(seed)).relu()


def trained(features: torch.Tensor, training: Training, seed: int = 0) -> torch.Tensor:
    """A head as anybody trains it: torch.nn and torch.optim, nothing of the pipeline."""
    torch.manual_seed(seed)
    layer = nn.Linear(FEATURES, CLASSES)
    if training.initial == "normal":
        nn.init.normal_(layer.weight, std=training.init_std)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    for _ in range(training.epochs):
        optimizer.zero_grad()
        functional.cross_entropy(layer(features[0]), torch.arange(CLASSES)).backward()
        optimizer.step()
    return torch.cat([part.detach().flatten() for part in (layer.weight, layer.bias)])


def stands(weights: torch.Tensor, features: torch.Tensor) -> Callable[[Training], Fit | None]:
    def fit(training: Training) -> Fit | None:
        try:
            retrained = train_heads(
                features.expand(60, -1, -1).contiguous(),
                torch.arange(CLASSES).expand(60, -1),
                training,
                torch.Generator().manual_seed(7),
            )
        except Failure:
            return None
        return compare(Head(FEATURES, None, CLASSES), weights, retrained, torch.zeros(len(weights)), features[0])

    return fit


@pytest.mark.parametrize("seed", range(8))
def test_a_head_of_the_recipe_belongs_to_it(seed):
    features = images(seed)
    fit = stands(trained(features, TOLD, seed), features)
    assert fit(TOLD).near
    assert suspect(TOLD, fit(TOLD), fit) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 0.5}, "learning_rate: 0.5"),
        ({"learning_rate": 0.015}, "learning_rate: 0.015"),
        ({"epochs": 200}, "epochs: 200"),
        ({"initial": "pytorch_default", "init_std": None}, "initial: pytorch_default"),
        ({"init_std": 0.03}, "initial: normal, init_std: 0.02"),
    ],
)
def test_the_key_that_is_off_is_named(change, said):
    features = images(1)
    fit = stands(trained(features, Training.model_validate(TOLD.model_dump() | change), 1), features)
    found = suspect(TOLD, fit(TOLD), fit)
    assert found is not None
    assert found.change.startswith(said)


@pytest.mark.parametrize("seed", range(4))
def test_a_head_of_other_images_belongs_to_no_recipe_and_its_weights_hold_them(seed):
    fit = stands(trained(images(seed), TOLD), images(seed + 10))
    assert not fit(TOLD).near
    assert fit(TOLD).deviations[DESCRIBED.index("outside")] > 8
    assert suspect(TOLD, fit(TOLD), fit) is None


def test_a_head_that_was_never_trained_stands_apart_by_its_length():
    features = images(4)
    fit = stands(trained(features, TOLD.model_copy(update={"epochs": 0})), features)(TOLD)
    assert not fit.near
    assert fit.deviations[DESCRIBED.index("length")] < -5
    assert abs(fit.deviations[DESCRIBED.index("outside")]) < 4


def test_known_initial_weights_leave_room_for_rounding_alone():
    features = images(5)
    start = trained(features, TOLD.model_copy(update={"epochs": 0}), 9)
    weights = trained(features, TOLD, 9)
    retrained = train_heads(
        features.expand(20, -1, -1).contiguous(),
        torch.arange(CLASSES).expand(20, -1),
        TOLD,
        torch.Generator(),
        start.expand(20, -1),
    )
    left = (1 - TOLD.learning_rate * TOLD.weight_decay) ** TOLD.epochs * start
    head = Head(FEATURES, None, CLASSES)
    assert compare(head, weights, retrained, left, features[0]).distance < 3
    assert compare(head, trained(features, TOLD, 8), retrained, left, features[0]).distance > 50
