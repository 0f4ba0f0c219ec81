"""From the δ of a batch to its inputs, and what certifies each of them."""

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture
from pipeline.gradient_inversion.batches.polish import Directions

ROUNDS = 4
NEAR_ZERO = 100.0
"""A pre-activation is not told from zero if it is below so many roundings of its products."""


def unmix(mixture: Mixture, layer: HiddenLayer, found: Directions) -> tuple[Tensor, Tensor]:
    """Inputs (B, D) and labels (B,) from the directions of all B images: Δᵀ [X, 1] = M, solved for [X, 1]."""
    deltas = (found.coordinates @ mixture.left.T) * found.fires
    extended = solve(deltas, mixture.matrix)
    inputs = extended[:, :-1] / extended[:, -1:]
    return inputs, nearest_labels(layer, inputs, deltas * extended[:, -1:].sign())


def nearest_labels(layer: HiddenLayer, inputs: Tensor, deltas: Tensor) -> Tensor:
    """The labels (m,) whose δ at the inputs (m, D) are nearest in direction to `deltas` (m, n)."""
    choices = []
    for label in range(layer.classes):
        own = layer.deltas(inputs, torch.full((len(inputs),), label, device=inputs.device))
        choices.append(torch.nn.functional.cosine_similarity(own, deltas, dim=1))
    return torch.stack(choices).argmax(0)


def refined(mixture: Mixture, layer: HiddenLayer, inputs: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Inputs (m, D) of a whole batch made exact: their own δ in place of those found, solved again; and weights (m,).

    A weight is how often an image stands in `size` times the mean: 1, 2 for an image that is there twice, below 1 where
    it was clipped. Units that an image may fire or not, by rounding alone, are left out.
    """
    told = _told(mixture, layer, inputs)
    weights = inputs.new_ones(len(inputs))
    for _ in range(ROUNDS):
        extended = solve(layer.deltas(inputs, labels)[:, told], mixture.matrix[told])
        new, weights = extended[:, :-1] / extended[:, -1:], extended[:, -1] * size
        step, inputs = (new - inputs).abs().max(), new
        if not step > 1e-13:
            break
    return inputs, weights


def _told(mixture: Mixture, layer: HiddenLayer, inputs: Tensor) -> Tensor:
    """(n,) bool: units whose pre-activations are away from zero, whoever's arithmetic computes them; all if few are."""
    before = torch.addmm(layer.bias, inputs, layer.weight.T).abs()
    size = inputs.norm(dim=1)[:, None] * layer.weight.norm(dim=1)
    told = (before > NEAR_ZERO * mixture.precision * size).all(0)
    return told if told.sum() >= 2 * mixture.rank else torch.ones_like(told)


def solve(deltas: Tensor, matrix: Tensor) -> Tensor:
    """[X, 1] (B, D + 1) of Δᵀ [X, 1] = M by least squares, Δ (B, n)."""
    size = deltas.norm(dim=1, keepdim=True).clamp(min=torch.finfo(deltas.dtype).tiny)
    basis, triangle = torch.linalg.qr((deltas / size).T)
    return torch.linalg.solve_triangular(triangle, basis.T @ matrix, upper=True) / size
