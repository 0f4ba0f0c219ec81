"""Activations with the slopes an attack takes for them: σ(αz) stands for the derivative of ReLU, which has none."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class Activation:
    """`value(z)`; `slope(z, α)`, by which derivatives are multiplied; `curvature(z, α, slope)`, the slope's derivative.

    Of relu and leaky_relu the slope is the surrogate (arXiv 2206.07758, appendix): σ(αz), and its blend with
    LEAKY_SLOPE. Smooth activations have their own derivatives and no use for α.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor, Tensor], Tensor]


def _leaky_slope(z: Tensor, sharpness: Tensor) -> Tensor:
    return LEAKY_SLOPE + (1 - LEAKY_SLOPE) * torch.sigmoid(z * sharpness)


def _leaky_curvature(z: Tensor, sharpness: Tensor, slope: Tensor) -> Tensor:
    return sharpness * (slope - LEAKY_SLOPE) * (1 - slope) / (1 - LEAKY_SLOPE)


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


ACTIVATIONS = {
    "relu": Activation(
        functional.relu,
        lambda z, sharpness: torch.sigmoid(z * sharpness),
        lambda z, sharpness, slope: torch.addcmul(slope, slope, slope, value=-1).mul_(sharpness),
    ),
    "leaky_relu": Activation(lambda z: functional.leaky_relu(z, LEAKY_SLOPE), _leaky_slope, _leaky_curvature),
    "gelu": Activation(
        functional.gelu,
        lambda z, sharpness: torch.special.ndtr(z) + z * _normal_density(z),
        lambda z, sharpness, slope: (2 - z.square()) * _normal_density(z),
    ),
    "sigmoid": Activation(
        torch.sigmoid,
        lambda z, sharpness: torch.sigmoid(z) * (1 - torch.sigmoid(z)),
        lambda z, sharpness, slope: slope * (1 - 2 * torch.sigmoid(z)),
    ),
    "tanh": Activation(
        torch.tanh,
        lambda z, sharpness: 1 - torch.tanh(z).square(),
        lambda z, sharpness, slope: -2 * torch.tanh(z) * slope,
    ),
}


class _WithSlope(torch.autograd.Function):
    """Forward `value`, backward `slope`; twice backward, the slope's own derivative, by autograd."""

    @staticmethod
    def forward(ctx, z: Tensor, activation: Activation, sharpness: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        ctx.activation, ctx.sharpness = activation, sharpness
        return activation.value(z)

    @staticmethod
    def backward(ctx, upstream: Tensor):
        (z,) = ctx.saved_tensors
        return upstream * ctx.activation.slope(z, ctx.sharpness), None, None


def with_surrogate_slope(name: str, sharpness: Tensor) -> Callable[[Tensor], Tensor]:
    """The named activation for autograd, with the surrogate for its derivative; `sharpness` is a scalar tensor."""
    return lambda z: _WithSlope.apply(z, ACTIVATIONS[name], sharpness)
