"""The row space of a victim's first layer: gradient descent adds nothing to its weights but multiples of its inputs.

Whatever the loss, W₁ = Σᵢ cᵢ xᵢᵀ + W₁(0), and b₁ = Σᵢ cᵢ + b₁(0) with the same cᵢ: the bias is the weight of an input
that is always 1. So the training images lie in the row space of W₁ − W₁(0); of a convolution, their patches do. Of W₁
alone, the directions are known whose singular values stand above those of the initial weights.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import Failure
from pipeline.kkt.networks import Victim

EDGE = 1.01
"""Singular values of noise reach the floor σ(√D + √width) to within a few thousandths; so far above it is signal."""

ROUNDING = 100
"""Singular values below this multiple of the largest one's rounding error are noise."""


@dataclass(frozen=True)
class Span:
    """Of W (units, D): orthonormal `directions` (r, D) and their singular `values` (r,), largest first, float64.

    `shape` (C, h, w) is what a row of W is: an image, or a convolution's patch. `noise`: the standard deviation of the
    noise in W, `floor`: the singular value up to which noise reaches. `weight` (units, D) and `bias` (units,) are what
    the directions were taken from.
    """

    directions: Tensor
    values: Tensor
    noise: float
    floor: float
    weight: Tensor
    bias: Tensor
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.directions)


def first_layer_span(network: Victim, initial: dict[str, Tensor] | None = None) -> Span:
    """The span of the first layer's weights; of what training added to them, where the `initial` state is known.

    Raises Failure when no direction stands above the noise.
    """
    layer = network.layers[0]
    weight, bias = (part.detach().double() for part in (layer.weight, layer.bias))
    if initial is not None:
        weight, bias = weight - initial["layers.0.weight"].double(), bias - initial["layers.0.bias"].double()
    shape = tuple(layer.weight.shape[1:]) if isinstance(layer, nn.Conv2d) else network.shape
    weight = weight.flatten(1)
    _, values, directions = torch.linalg.svd(weight, full_matrices=False)
    rank, noise = signal_rank(values, weight.shape)
    rounding = ROUNDING * torch.finfo(layer.weight.dtype).eps * float(values[0])
    rank = min(rank, int((values > rounding).sum()))
    if not rank:
        raise Failure("the victim's first layer is noise alone: no direction of it stands above its initial weights")
    floor = noise * sum(math.sqrt(side) for side in weight.shape)
    return Span(directions[:rank], values[:rank], noise, floor, weight, bias, shape)


def signal_rank(values: Tensor, shape: tuple[int, int]) -> tuple[int, float]:
    """(r, σ): how many singular values (k,) of a matrix of `shape` stand above noise, whose deviation is fitted.

    σ² is the mean square of what the first r directions leave, r the number of values above EDGE · σ(√rows + √columns);
    both are repeated, from all values above twice the median, until r stays. Weight decay shrinks the noise, so it
    need not be the deviation that weights started from.
    """
    rank = int((values > 2 * values.median()).sum())
    seen: set[int] = set()
    while True:
        left = (shape[0] - rank) * (shape[1] - rank)
        noise = math.sqrt(float(values[rank:].square().sum()) / left) if left else 0.0
        found = int((values > EDGE * noise * sum(math.sqrt(side) for side in shape)).sum())
        if found == rank or found in seen:
            return found, noise
        seen.add(found)
        rank = found
