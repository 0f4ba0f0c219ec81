"""Peeling: units that a single image fires give that image away, as the ratio of weight to bias gradient.

A candidate's own forward pass tells its δ for every label; one of them lies in the span of U if the candidate is an
image of the batch. Taken out, it may leave other units to a single image (peeling, 2026; erasure codes' decoder).
"""

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture, rank_one_residual

ROUGH = 3e-3
"""Share of δ outside the span, in float32, beyond which a candidate is not looked at again in float64."""

ALIKE = 1e-3
"""Relative distance within which two candidates are the same image."""


def peel(mixture: Mixture, layer: HiddenLayer, size: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Inputs (m, D) and labels (m,) of images that have units of their own; `size` is B of the mean that M is."""
    matrix = mixture.matrix.clone()
    noise = mixture.precision * matrix.abs().amax(1)
    inputs, labels = matrix.new_zeros(0, layer.weight.shape[1]), torch.zeros(0, dtype=torch.long, device=matrix.device)
    fresh = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    while len(inputs) < mixture.rank:
        rows = (fresh & (matrix[:, -1].abs() > 1e6 * noise)).nonzero()[:, 0]
        found, own = _accepted(mixture, layer, matrix[rows, :-1] / matrix[rows, -1:], inputs, size, tolerance)
        if not len(found):
            break
        deltas = layer.deltas(found, own)
        matrix -= torch.cat([deltas.T @ found, deltas.sum(0)[:, None]], 1) / size
        inputs, labels, fresh = torch.cat([inputs, found]), torch.cat([labels, own]), (deltas != 0).any(0)
    return inputs[: mixture.rank], labels[: mixture.rank]


def _accepted(
    mixture: Mixture, layer: HiddenLayer, candidates: Tensor, known: Tensor, size: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """The candidates (m, D) that are images of the batch, each once, and their labels."""
    largest = candidates.abs().amax(1)
    candidates = candidates[largest < 50 * largest.median()] if len(candidates) else candidates
    fires, probabilities = layer.forward(candidates)
    label, rough = _best_label(mixture, layer, fires, probabilities)
    likely = (rough < ROUGH) & (fires.sum(1) > layer.classes)
    candidates, label = candidates[likely], label[likely]
    residual = rank_one_residual(mixture, layer, candidates, label, size)
    best = residual.argsort()[: int((residual < tolerance).sum())]
    candidates, label = candidates[best], label[best]
    kept: list[int] = []
    for i, candidate in enumerate(candidates):
        others = torch.cat([known, candidates[kept]])
        if not len(others) or ((others - candidate).norm(dim=1) > ALIKE * candidate.norm()).all():
            kept.append(i)
    return candidates[kept], label[kept]


def _best_label(mixture: Mixture, layer: HiddenLayer, fires: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Per candidate the label whose δ is nearest to the span, and how near: ‖δ‖² − ‖Uᵀδ‖² in float32."""
    readout, left, identity = layer.readout.float(), mixture.left_single, torch.eye(layer.classes, device=fires.device)
    labels, misfits = [], []
    for some, own in zip(fires.float().split(64), probabilities.float().split(64), strict=True):
        deltas = some[:, None] * ((own[:, None] - identity) @ readout)
        inside = (deltas @ left).square().sum(2)
        whole = deltas.square().sum(2).clamp(min=1e-30)
        outside, label = (1 - inside / whole).min(1)
        labels.append(label)
        misfits.append(outside.clamp(min=0).sqrt())
    empty = torch.zeros(0, device=fires.device)
    return torch.cat([*labels, empty.long()]), torch.cat([*misfits, empty])
