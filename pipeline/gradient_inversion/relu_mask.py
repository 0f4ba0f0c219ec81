"""Which ReLU units were live, from outputs known only up to rounding; certified by the bias gradient."""

import torch
from torch import Tensor

LARGEST_ZERO = 1e-2
"""A value is taken for a rounded zero only below this share of the image's largest."""


def relu_mask(output: Tensor, gradient: Tensor, bias_gradient: Tensor | None, precision: Tensor) -> Tensor:
    """Live units (N, B, F, Ho, Wo) of a ReLU layer, from its recovered output and the loss gradient there.

    Zeros and live outputs part at the largest gap between the logarithms of an image's outputs: rounded zeros
    lie together near `precision` (N,), live outputs far above. A convolution's bias gradient (N, F) must equal the sum
    of the gradient over the live units (∂ℓ/∂b_f = Σ G_f); a filter for which it does not is cut where it does best.
    """
    threshold = _largest_gap(output.flatten(2), precision)
    live = output > threshold[..., None, None, None]
    if bias_gradient is None:
        return live
    size = bias_gradient.abs().amax(1).clamp(min=torch.finfo(torch.float64).tiny)
    error = _bias_error(live, gradient, bias_gradient)
    doubtful = error > precision.sqrt()[:, None] * size[:, None]
    for n, f in doubtful.nonzero().tolist():
        repaired = _best_cut(output[n, :, f], gradient[n, :, f], bias_gradient[n, f], LARGEST_ZERO * output[n].max())
        if abs((gradient[n, :, f] * repaired).sum() - bias_gradient[n, f]) < error[n, f]:
            live[n, :, f] = repaired
    return live


def _bias_error(live: Tensor, gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    return ((gradient * live).sum((1, 3, 4)) - bias_gradient).abs()


def _largest_gap(output: Tensor, precision: Tensor) -> Tensor:
    """The threshold (N, B) in the middle of the largest gap, on a logarithmic scale, of outputs (N, B, M)."""
    largest = output.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    floor = (precision[:, None, None] * 1e-3).expand(*output.shape[:2], 1)
    level = torch.cat([floor, (output.abs() / largest).clamp(min=floor)], -1).log().sort(-1).values
    gaps = level.diff(dim=-1)
    gaps = gaps.masked_fill(level[..., :-1] > torch.log(torch.tensor(LARGEST_ZERO)), 0)
    below = gaps.argmax(-1, keepdim=True)
    middle = (level.gather(-1, below) + level.gather(-1, below + 1)) / 2
    return (middle.exp() * largest)[..., 0]


def _best_cut(output: Tensor, gradient: Tensor, bias_gradient: Tensor, highest: Tensor) -> Tensor:
    """The live units of one filter when only values below `highest` may be dead: the cut with the least bias error."""
    order = output.flatten().argsort(descending=True)
    value = output.flatten()[order]
    sums = torch.cat([gradient.new_zeros(1), gradient.flatten()[order].cumsum(0)])
    error = (sums - bias_gradient).abs()
    error[: int((value >= highest).sum())] = torch.inf
    live = torch.zeros_like(value, dtype=torch.bool)
    live[order[: int(error.argmin())]] = True
    return live.view_as(output)
