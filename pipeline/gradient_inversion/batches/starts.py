"""Where the search for patterns starts: patterns that the network itself gives to combinations of the inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture

KINDS = 3
"""Rows of the gradient; combinations of the inputs by strength; and by the root of strength."""


def trained(probabilities: Tensor) -> bool:
    """Whether probabilities (S, K) are those of a network that tells classes apart: their largest exceed 4/K or 0.4."""
    return bool(probabilities.amax(1).median() > min(0.4, 4 / probabilities.shape[1]))


@dataclass(frozen=True)
class Classes:
    """What the gradient of the logits' bias, mean_b e_b, tells of B images together; without a bias, nothing."""

    counts: Tensor
    """(K,) expected number of images of each class"""
    mean: Tensor
    """(K,) mean class probabilities"""


def classes_of(mixture: Mixture, layer: HiddenLayer, mean_error: Tensor, size: int) -> Classes:
    """Counts by the probabilities at the mean input: mean e = mean p − counts / B."""
    inputs, bias = mixture.matrix[:, :-1], mixture.matrix[:, -1]
    at_mean = layer.forward((bias @ inputs / (bias @ bias))[None])[1][0]
    if not at_mean.isfinite().all():
        at_mean = torch.full_like(at_mean, 1 / layer.classes)
    if not mean_error.isfinite().all():
        return Classes(torch.full_like(at_mean, size / layer.classes), at_mean)
    counts = (size * (at_mean - mean_error)).clamp(min=0)
    mean = (mean_error + counts.round() / size).clamp(min=1e-3)
    return Classes(counts, mean / mean.sum())


def starts(
    mixture: Mixture,
    layer: HiddenLayer,
    classes: Classes,
    labels: Tensor,
    rest: Tensor,
    kind: int,
    number: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, bool]:
    """Patterns (S, n) bool, errors e (S, K), S ≤ `number`, and whether the network is trained.

    For images beyond those found, whose `labels` are given; `rest` (m, B), orthonormal, spans the coordinates of the
    inputs that are still to be found.
    """
    inputs = _inputs(mixture, rest, kind, number, generator)
    fires, probabilities = layer.forward(inputs)
    sure = len(inputs) > 0 and trained(probabilities)
    return fires, _errors(probabilities, sure, classes, labels, len(rest), generator), sure


def _inputs(mixture: Mixture, rest: Tensor, kind: int, number: int, generator: torch.Generator) -> Tensor:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=rest.dtype).to(rest.device)

    if kind == 0:
        rows = torch.randperm(len(mixture.matrix), generator=generator)[:number].to(rest.device)
        coordinates = (mixture.left[rows] * mixture.strength) @ rest.T @ rest
    else:
        scale = mixture.strength if kind == 1 else (mixture.strength * mixture.strength.mean()).sqrt()
        coordinates = (normal(number, len(rest)) @ rest * scale) @ rest.T @ rest
    extended = coordinates @ mixture.right
    last = extended[:, -1]
    usable = last.abs() > 1e-9 * extended.norm(dim=1)
    return extended[usable, :-1] / last[usable, None]


def _errors(
    probabilities: Tensor, sure: bool, classes: Classes, labels: Tensor, missing: int, generator: torch.Generator
) -> Tensor:
    """e = p − onehot(y): labels by what is left of the counts, p of the start or of the batch's mean."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(probabilities.device)

    def any_label() -> Tensor:
        return torch.randint(k, (number,), generator=generator).to(probabilities.device)

    number, k = probabilities.shape
    if not number:
        return probabilities
    counts = classes.counts.clone()
    left = torch.maximum(counts - labels.bincount(minlength=k), 0.15 * (counts > 0.05)) + 0.02 * missing / k
    drawn = torch.searchsorted((left / left.sum()).cumsum(0), uniform(number)).clamp(max=k - 1)
    if k <= 20 or missing <= 8:
        drawn = torch.where(uniform(number) < 0.3, any_label(), drawn)
    onehot = torch.nn.functional.one_hot(drawn, k)
    lot = uniform(number)[:, None]
    errors = torch.where(lot < 0.4, probabilities, classes.mean) - onehot
    if sure or missing <= 3:
        other = torch.nn.functional.one_hot((drawn + any_label() % (k - 1) + 1) % k, k)
        errors = torch.where(lot > 0.7, (other - onehot).double(), errors)
    vanishing = errors.abs().amax(1, keepdim=True) < 1e-6
    return torch.where(vanishing, classes.mean - onehot, errors)
