"""Activations and the derivatives an attack uses for them: σ(αz) in place of the step of ReLU."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class Activation:
    """`value(z)`; `slope(z, α)`, by which derivatives are multiplied; `to_linear`, the derivative by z of both.

    Of relu and leaky_relu the slope is the surrogate (arXiv 2206.07758, appendix): σ(αz), and its blend with
    LEAKY_SLOPE. plain_relu has its own derivative, a step, whose derivative is 0. Smooth activations have their own
    derivatives and no use for α. Value and slope go to `out`, if given.
    `to_linear(to_value, to_slope, z, α, slope)` takes the derivatives by value and by slope, and is written to one.
    """

    value: Callable[..., Tensor]
    slope: Callable[..., Tensor]
    to_linear: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _bent_by(curvature: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """`to_linear` of an activation whose slope has the derivative curvature(z, α, slope)."""

    def to_linear(to_value: Tensor, to_slope: Tensor, z: Tensor, sharpness: Tensor, slope: Tensor) -> Tensor:
        return to_value.mul_(slope).addcmul_(to_slope, curvature(z, sharpness, slope))

    return to_linear


def _relu_to_linear(to_value: Tensor, to_slope: Tensor, z: Tensor, sharpness: Tensor, slope: Tensor) -> Tensor:
    """With αs(1 − s) for the curvature: s·v + αs(1 − s)·t lies between αst, at s = 0, and v."""
    return to_slope.mul_(slope).mul_(sharpness).lerp_(to_value, slope)


def _relu(z: Tensor, out: Tensor | None = None) -> Tensor:
    return functional.relu(z) if out is None else torch.clamp_min(z, 0, out=out)


def _step(z: Tensor, sharpness: Tensor, out: Tensor | None = None) -> Tensor:
    return (z > 0).to(z) if out is None else out.copy_(z > 0)


def _surrogate_slope(z: Tensor, sharpness: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.mul(z, sharpness, out=out).sigmoid_()


def _copied(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function with an `out`, which torch has given it none of."""
    return lambda *values, out=None: function(*values) if out is None else out.copy_(function(*values))


def _leaky_slope(z: Tensor, sharpness: Tensor) -> Tensor:
    return LEAKY_SLOPE + (1 - LEAKY_SLOPE) * torch.sigmoid(z * sharpness)


def _leaky_curvature(z: Tensor, sharpness: Tensor, slope: Tensor) -> Tensor:
    return sharpness * (slope - LEAKY_SLOPE) * (1 - slope) / (1 - LEAKY_SLOPE)


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


ACTIVATIONS = {
    "relu": Activation(_relu, _surrogate_slope, _relu_to_linear),
    "plain_relu": Activation(_relu, _step, lambda to_value, to_slope, z, sharpness, slope: to_value.mul_(slope)),
    "leaky_relu": Activation(
        _copied(lambda z: functional.leaky_relu(z, LEAKY_SLOPE)), _copied(_leaky_slope), _bent_by(_leaky_curvature)
    ),
    "gelu": Activation(
        _copied(functional.gelu),
        _copied(lambda z, sharpness: torch.special.ndtr(z) + z * _normal_density(z)),
        _bent_by(lambda z, sharpness, slope: (2 - z.square()) * _normal_density(z)),
    ),
    "sigmoid": Activation(
        torch.sigmoid,
        _copied(lambda z, sharpness: torch.sigmoid(z) * (1 - torch.sigmoid(z))),
        _bent_by(lambda z, sharpness, slope: slope * (1 - 2 * torch.sigmoid(z))),
    ),
    "tanh": Activation(
        torch.tanh,
        _copied(lambda z, sharpness: 1 - torch.tanh(z).square()),
        _bent_by(lambda z, sharpness, slope: -2 * torch.tanh(z) * slope),
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
