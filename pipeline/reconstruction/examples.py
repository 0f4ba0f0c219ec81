"""What a step of training shows the network: inputs, the class that goes with each, and the images each may be."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from pipeline.head_inversion.inversion import HeadInversion
from pipeline.randomness import torch_generator
from pipeline.statistics import Standardisation

CLASSES_AT_ONCE = 1000

Batches = Callable[[int], Iterator[tuple[torch.Tensor, ...]]]


class Examples(NamedTuple):
    """inputs (B, width); label (B,) or None; candidates (B, J), rows of the images."""

    inputs: torch.Tensor
    label: torch.Tensor | None
    candidates: torch.Tensor


ExamplesFrom = Callable[[int], Iterator[Examples]]
"""The examples of every step from a given one on, forever."""


def weight_examples(
    batches: Batches,
    standardise: Standardisation,
    groups_of: Callable[[torch.Tensor], torch.Tensor],
    classes: int,
    models: int,
    purpose: tuple[str | int, ...],
) -> ExamplesFrom:
    """As published: the standardised weights of a step's `models`, each with a random one of its groups (a class) where
    `classes` > 0, else with the only group.

    `batches(step)` yields (weights (B, P), indices (B, N)); `groups_of` makes the (B, G, J) candidates of the indices.
    """

    def from_step(step: int) -> Iterator[Examples]:
        device = standardise.mean.device
        rows = torch.arange(models, device=device)
        labels = class_labels(classes, models, purpose, step, device)
        for (weights, indices), label in zip(batches(step), labels, strict=False):
            groups = groups_of(indices)
            yield Examples(standardise.apply(weights), label, groups[rows, label] if classes else groups[:, 0])

    return from_step


def feature_examples(batches: Batches, inversion: HeadInversion) -> ExamplesFrom:
    """All N images of every model, each with the features that inverting the head recovers of it.

    `batches(step)` yields (weights (B, P), indices (B, N), coefficients (B, R, N)); a step shows B·N examples.
    """
    classes = inversion.slots.classes if len(inversion.prior_means) > 1 else None

    def from_step(step: int) -> Iterator[Examples]:
        for weights, indices, coefficients in batches(step):
            recovered = inversion.invert(weights)
            order = inversion.slots.order(coefficients)
            label = None if classes is None else classes.to(indices.device).repeat(len(indices))
            yield Examples(recovered.features.flatten(0, 1), label, indices.gather(1, order).flatten()[:, None])

    return from_step


def class_labels(
    classes: int, models: int, purpose: tuple[str | int, ...], step: int, device: torch.device
) -> Iterator[torch.Tensor | None]:
    """For every step from `step` on a random class (models,) of each model; None for an unconditional network."""
    while True:
        block, start = divmod(step, CLASSES_AT_ONCE)
        drawn = torch.randint(
            max(1, classes), (CLASSES_AT_ONCE, models), generator=torch_generator(*purpose, block)
        ).to(device)
        for label in drawn[start:]:
            yield label if classes else None
        step = (block + 1) * CLASSES_AT_ONCE
