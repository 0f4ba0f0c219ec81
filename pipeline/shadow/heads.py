"""The heads that shadow models train: D features → logits, or D → ReLU → logits; many at once, weights flat.

Samples are columns: outputs of M heads on N samples have the shape (M, K, N).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pipeline.shadow.settings import Training


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
    def rows(self) -> int:
        """R, the rows of the first layer: hidden units, or logits where there is no hidden layer."""
        return self.hidden or self.outputs

    @property
    def size(self) -> int:
        """P, the number of weights and biases: 2,570 for 256→10, 8,201 for 2048→4→1."""
        return sum(math.prod(shape) for shape in self.shapes)

    def split(self, weights: Tensor) -> list[Tensor]:
        """Views of flat weights (M, P): weight (M, K, D) and bias (M, K) of each layer."""
        parts = weights.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def draw(self, weights: Tensor, std: float, generator: torch.Generator) -> None:
        """Fills flat weights (M, P) afresh: N(0, std²), biases 0."""
        weights.normal_(std=std, generator=generator)
        for bias in self.split(weights)[1::2]:
            bias.zero_()

    def draw_initial(self, weights: Tensor, training: Training, generator: torch.Generator) -> None:
        """Fills flat weights (M, P) by the training's law of initial weights."""
        if training.initial == "normal":
            self.draw(weights, training.init_std, generator)
        elif training.initial == "zero":
            weights.zero_()
        else:
            parts = self.split(weights)
            for weight, bias in zip(parts[::2], parts[1::2], strict=True):
                bound = weight.shape[2] ** -0.5
                weight.uniform_(-bound, bound, generator=generator)
                bias.uniform_(-bound, bound, generator=generator)


def affine(weight: Tensor, bias: Tensor, columns: Tensor) -> Tensor:
    """weight (M, K, D) · columns (M, D, N) + bias (M, K) → (M, K, N)."""
    return torch.baddbmm(bias.unsqueeze(2), weight, columns)


def forward(parameters: list[Tensor], features: Tensor) -> Tensor:
    """Logits (M, K, N) of heads on their features (M, N, D)."""
    weight, bias, *upper = parameters
    return logits(activate(affine(weight, bias, features.mT), upper), upper)


def activate(outputs: Tensor, upper: list[Tensor]) -> Tensor:
    """What leaves the first layer: ReLU below a second layer (`upper`: its weight and bias), else the logits."""
    return outputs.relu_() if upper else outputs


def logits(activations: Tensor, upper: list[Tensor]) -> Tensor:
    return affine(*upper, activations) if upper else activations


def backward(slope: Tensor, activations: Tensor, upper: list[Tensor]) -> Tensor:
    """Carries ∂loss/∂logits (M, K, N) back to the first layer's outputs."""
    return torch.bmm(upper[0].mT, slope).mul_(activations > 0) if upper else slope


def upper_gradients(slope: Tensor, activations: Tensor, upper: list[Tensor]) -> list[Tensor]:
    """∂loss/∂(second layer's weight and bias), summed over samples; nothing for a linear head."""
    return [torch.bmm(slope, activations.mT), slope.sum(2)] if upper else []
