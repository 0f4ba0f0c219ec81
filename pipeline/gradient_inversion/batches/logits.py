"""Images of a batch of which some δ are missing: the network's own logits in place of the δ that were not found.

With m of the B images missing, the found ones' δ fix the input of each found image but for m directions of the row
space. Its δ also tells e = p − onehot(y) up to a scale, so the logits of all classes but y up to an offset; they are
linear in the input on the units that the image fires. That is K − 1 equations and one for the bias coordinate, for
m + 2 unknowns: enough for m ≤ K − 2.
"""

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture
from pipeline.gradient_inversion.batches.polish import Directions, errors_of

TOLD = 1e-12
"""A probability that is smaller, relative to the error, says nothing of its logit."""
ROUNDS = 6


def inputs_by_logits(mixture: Mixture, layer: HiddenLayer, found: Directions, size: int) -> tuple[Tensor, Tensor]:
    """Inputs (c, D) and labels (c,) of the c < B images whose δ was found; NaN where too many are missing.

    `size` is B of the mean that M is. Nothing is promised: an input has to be certified.
    """
    missing = mixture.rank - len(found.labels)
    if missing + 2 > layer.classes or not len(found.labels):
        return mixture.matrix.new_full((len(found.labels), layer.weight.shape[1]), torch.nan), found.labels
    known = found.coordinates / mixture.strength
    own = torch.linalg.pinv(known).T @ mixture.right
    free = torch.linalg.svd(known, full_matrices=True)[2][len(known) :] @ mixture.right
    unit = torch.cat([layer.weight, layer.bias[:, None]], 1)
    before_own, before_free = own @ unit.T, free @ unit.T
    deltas = found.coordinates @ mixture.left.T
    inputs = own.new_empty(len(own), own.shape[1] - 1)
    for b, (fires, label) in enumerate(zip(found.fires, found.labels.tolist(), strict=True)):
        errors, readout = errors_of(deltas[b], fires, layer), layer.readout[:, fires]
        sign = (deltas[b, fires] @ (errors @ readout)).sign()  # of a direction as found, which is arbitrary
        directions = torch.cat([sign * own[b : b + 1], free])
        # logits but for their own bias, by the scale of each direction
        slopes = readout @ torch.cat([sign * before_own[b : b + 1], before_free])[:, fires].T
        mixed = _solved(slopes, directions[:, -1], layer.readout_bias, errors, label, size)
        inputs[b] = (mixed @ directions)[:-1]
    return inputs, found.labels


def _solved(slopes: Tensor, bias: Tensor, offsets: Tensor, errors: Tensor, label: int, size: int) -> Tensor:
    """t (m + 1,) with logits slopes t + offsets that have the `errors` (K,) up to scale, and bias · t = 1.

    The scale of the errors is size / t₀. First the logits beside the label's, which are linear in t; then all of them
    by Gauss-Newton. Each counts by how well the errors tell it. NaN where too few tell anything.
    """
    shares = errors / errors[label].abs()
    told = shares > TOLD
    told[label] = False
    if told.sum() < len(bias):
        return torch.full_like(bias, torch.nan)
    last = torch.cat([bias, bias.new_zeros(1)])[None]
    rows = torch.cat([slopes, slopes.new_full((len(slopes), 1), -1.0)], 1)
    ahead = errors[told].log() - offsets[told]
    current = _weighted(rows[told], ahead, shares[told].clamp(max=1), last, bias.new_ones(1))
    current[-1] = current[-1] - current[0].abs().log()  # the errors' scale apart, the rest is the logits' own offset
    used = told.clone()
    used[label] = True
    for _ in range(ROUNDS):
        scale = 1 / current[0]
        sure = 1 + size * scale * errors[label]
        if not (scale > 0 and sure > 0):
            break
        wanted = (errors.clamp(min=torch.finfo(errors.dtype).tiny) * scale).log()
        wanted[label] = (sure / size).log()
        slope = rows.clone()
        slope[:, 0] += scale
        slope[label, 0] -= scale / sure
        weights = torch.where(told, shares.clamp(max=1), (sure / (1 - sure)).clamp(max=1e3))
        rest = wanted - rows @ current - offsets
        current = current + _weighted(slope[used], rest[used], weights[used], last, 1 - last @ current)
    return current[:-1]


def _weighted(rows: Tensor, right: Tensor, weights: Tensor, last: Tensor, last_right: Tensor) -> Tensor:
    """Least squares of weighted rows (k, m) and one more, `last` (1, m), with columns scaled to one norm."""
    system = torch.cat([rows * weights[:, None], last])
    column = system.norm(dim=0).clamp(min=torch.finfo(system.dtype).tiny)
    target = torch.cat([right * weights, last_right])
    return torch.linalg.lstsq(system / column, target[:, None], driver="gelsd").solution[:, 0] / column
