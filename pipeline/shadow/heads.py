"""The heads that shadow models train: D features → logits, or D → ReLU → logits; many at once, weights flat."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """Sizes of a head. Flat order of its weights: weight (row-major), bias, layer by layer."""

    inputs: int
    hidden: int | None
    outputs: int

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        widths = [width for width in (self.inputs, self.hidden, self.outputs) if width is not None]
        return [shape for fan_in, fan_out in pairwise(widths) for shape in ((fan_out, fan_in), (fan_out,))]

    @property
    def size(self) -> int:
        """P, the number of weights and biases: 2,570 for 256→10, 8,201 for 2048→4→1."""
        return sum(math.prod(shape) for shape in self.shapes)

    def split(self, weights: Tensor) -> list[Tensor]:
        """Views of flat weights (M, P): weight (M, K, D), bias (M, K) of each layer."""
        parts = weights.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def join(self, parameters: list[Tensor]) -> Tensor:
        """The inverse of `split`: (M, P)."""
        return torch.cat([parameter.flatten(1) for parameter in parameters], dim=1)

    def draw(self, models: int, std: float, generator: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
        """Fresh parameters of `models` heads on the generator's device: weights ~ N(0, std²), biases 0."""
        place = {"dtype": dtype, "device": generator.device}
        return [
            torch.randn(models, *shape, generator=generator, **place).mul_(std)
            if len(shape) == 2
            else torch.zeros(models, *shape, **place)
            for shape in self.shapes
        ]


def affine(weight: Tensor, bias: Tensor, columns: Tensor) -> Tensor:
    """weight (M, K, D) · columns (M, D, N) + bias (M, K) → (M, K, N): a column is a sample."""
    return torch.baddbmm(bias.unsqueeze(2), weight, columns)


def logits(first: Tensor, upper: list[Tensor]) -> Tensor:
    """Logits (M, K, N) from the first layer's outputs; `upper` holds the second layer's weight and bias, if any."""
    return affine(*upper, first.relu()) if upper else first


def forward(parameters: list[Tensor], features: Tensor) -> Tensor:
    """Logits (M, K, N) of heads on their features (M, N, D)."""
    weight, bias, *upper = parameters
    return logits(affine(weight, bias, features.mT), upper)


def backward(slope: Tensor, first: Tensor, upper: list[Tensor]) -> Tensor:
    """Carries ∂loss/∂logits (M, K, N) back to the first layer's outputs."""
    return torch.bmm(upper[0].mT, slope).mul_(first > 0) if upper else slope


def upper_gradients(slope: Tensor, first: Tensor, upper: list[Tensor]) -> list[Tensor]:
    """∂loss/∂(second layer's weight and bias), summed over samples; none for a linear head."""
    return [torch.bmm(slope, first.relu().mT), slope.sum(2)] if upper else []
