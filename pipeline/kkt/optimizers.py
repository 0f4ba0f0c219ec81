"""Steps for a stack of trials that have their own learning rates: as torch.optim.SGD and Adam for each by itself."""

import math

import torch
from torch import Tensor

MOMENTUM = 0.9
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-12
"""Gradients here are often of the order of 1e-8, which PyTorch's own 1e-8 would damp."""

MOMENTS = {"sgd": 1, "adam": 2}
"""How many running sums each optimizer keeps of a variable."""


def step(optimizer: str, variable: Tensor, gradient: Tensor, moments: list[Tensor], rates: Tensor, number: int) -> None:
    """One step in place, with a rate (T,) for each trial; `moments` start at zero, `number` counts steps from 1.

    Overwrites `gradient`.
    """
    rates = rates.view(-1, *[1] * (variable.ndim - 1))
    if optimizer == "sgd":
        variable.sub_(rates * moments[0].mul_(MOMENTUM).add_(gradient))
        return
    (mean, square), (beta, square_beta) = moments, ADAM_BETAS
    mean.lerp_(gradient, 1 - beta)
    square.mul_(square_beta).addcmul_(gradient, gradient, value=1 - square_beta)
    spread = math.sqrt(1 - square_beta**number)  # what the square root lacks while its running mean is young
    direction = torch.sqrt(square, out=gradient).add_(ADAM_EPSILON * spread)
    torch.div(mean, direction, out=direction)
    variable.addcmul_(direction, rates, value=-spread / (1 - beta**number))


def cosine(done: int, iterations: int) -> float:
    """The share of the learning rate left after `done` of `iterations`: half a cosine from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done / iterations))
