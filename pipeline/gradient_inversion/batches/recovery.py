"""The inputs of a hidden layer behind the mean gradient of a batch: peeling, then the search, then un-mixing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.logits import inputs_by_logits
from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture, mixture, rank_one_residual
from pipeline.gradient_inversion.batches.peeling import peel
from pipeline.gradient_inversion.batches.polish import Directions, null_vectors
from pipeline.gradient_inversion.batches.search import search
from pipeline.gradient_inversion.batches.starts import classes_of
from pipeline.gradient_inversion.batches.unmixing import refined, unmix
from pipeline.randomness import torch_generator

UNTOLD = 0.1
"""A singular value beyond the B of a batch, over the last of them, that is no rounding but another image."""


@dataclass(frozen=True)
class Recovered:
    """Images of one batch: m of them, m ≤ B."""

    inputs: Tensor
    """(m, D) of the hidden layer"""
    labels: Tensor
    """(m,)"""
    residual: Tensor
    """(m,) per image: see `rank_one_residual`"""
    found_by: tuple[str, ...]
    """"peeling" or "search", per image"""
    complete: bool
    """Whether these are all images of the batch."""
    reason: str | None = None
    """Why the others are missing."""


def recover(
    layer: HiddenLayer,
    weight_gradient: Tensor,
    bias_gradient: Tensor,
    mean_error: Tensor,
    size: int,
    precision: float,
    starts_per_image: int,
) -> Recovered:
    """Images behind the mean gradient over `size` images, (n, D) and (n,), and of the logits' bias, (K,)."""
    whole = mixture(torch.cat([weight_gradient, bias_gradient[:, None]], 1), precision, size)
    tolerance = max(1e-7, 30 * whole.grain)
    inputs, labels = peel(whole, layer, size, tolerance)
    if whole.beyond > UNTOLD:
        reason = f"the gradient has a rank above {size}, so it does not come from {size} images"
        return Recovered(inputs[:0], labels[:0], whole.strength[:0], (), False, reason)
    peeled, left, starts = len(inputs), 0, starts_per_image * (whole.rank - len(inputs))
    generator = torch_generator("un-mixing", size)
    while len(inputs) < whole.rank and starts > 0:
        core, error = _without(whole, layer, inputs, labels, mean_error, size)
        others = size - len(inputs)
        classes = classes_of(core, layer, error * size / others, others)
        found, spent = search(core, layer, classes, starts, generator)
        starts -= spent
        left = core.rank - len(found.labels)
        if left:
            more, own = inputs_by_logits(core, layer, found, size)
            exact = rank_one_residual(whole, layer, more, own, size) < tolerance
            more, own = more[exact], own[exact]
        else:
            more, own = unmix(core, layer, found)
        if not len(own):
            break
        inputs, labels = torch.cat([inputs, more]), torch.cat([labels, own])
        if len(inputs) < whole.rank:
            inputs = _sharpened(whole, layer, inputs, labels, size)
    found_by = ["peeling"] * peeled + ["search"] * (len(inputs) - peeled)
    if len(inputs) < whole.rank:
        residual = rank_one_residual(whole, layer, inputs, labels, size)
        reason = f"peeling found {peeled} of {size} images, the search all but {left} of the others' δ"
        return Recovered(inputs, labels, residual, tuple(found_by), False, reason)
    inputs, weights = refined(whole, layer, inputs, labels, size)
    residual = rank_one_residual(whole, layer, inputs, labels, size, weights)
    copies = weights.round().clamp(min=1).long() if whole.rank < size else torch.ones_like(labels)
    places = torch.arange(len(inputs), device=inputs.device).repeat_interleave(copies)[:size]
    missing = size - len(places)
    return Recovered(
        inputs[places],
        labels[places],
        residual[places],
        tuple(found_by[place] for place in places.tolist()),
        not missing,
        f"the gradient has rank {whole.rank}: {missing} images fire no unit or have no error" if missing else None,
    )


def _sharpened(whole: Mixture, layer: HiddenLayer, inputs: Tensor, labels: Tensor, size: int) -> Tensor:
    """The inputs (m, D) of part of a batch, each solved again from its pattern now that more of the others are known.

    What an input lacks in digits is many times the weakest images' share of the gradient.
    """
    fires = layer.forward(inputs)[0]
    directions = Directions(null_vectors(whole.left, ~fires)[0], fires, labels)
    again = inputs_by_logits(whole, layer, directions, size)[0]
    better = rank_one_residual(whole, layer, again, labels, size) < rank_one_residual(
        whole, layer, inputs, labels, size
    )
    return again.where(better[:, None], inputs)


def _without(
    whole: Mixture, layer: HiddenLayer, inputs: Tensor, labels: Tensor, mean_error: Tensor, size: int
) -> tuple[Mixture, Tensor]:
    """The mixture and the mean error (K,) with some images' own parts taken out."""
    if not len(inputs):
        return whole, mean_error
    deltas = layer.deltas(inputs, labels)
    own = torch.cat([deltas.T @ inputs, deltas.sum(0)[:, None]], 1) / size
    errors = layer.forward(inputs)[1] - torch.nn.functional.one_hot(labels, layer.classes)
    matrix = whole.matrix - own
    precision = whole.precision * float(whole.strength[0] / torch.linalg.matrix_norm(matrix))
    return mixture(matrix, min(precision, 1e-3), whole.rank - len(inputs)), mean_error - errors.sum(0) / size
