"""Gradient descent with momentum and weight decay, as torch.optim.SGD does it, and its linear response.

The update is linear in weights and gradients. So it may run on the coefficients of a weight in any basis, and what it
makes of the initial weights is a number known beforehand.
"""

import torch
from torch import Tensor

from pipeline.shadow.settings import Training


class Descent:
    """Updates values in place by their gradients, which it uses up; keeps the velocities of momentum."""

    def __init__(self, training: Training):
        self.training = training
        self.velocities: list[Tensor] | None = None

    def step(self, values: list[Tensor], gradients: list[Tensor]) -> None:
        if self.training.weight_decay:
            for value, gradient in zip(values, gradients, strict=True):
                gradient.add_(value, alpha=self.training.weight_decay)
        directions = gradients
        if self.training.momentum:
            if self.velocities is None:
                self.velocities = [torch.zeros_like(value) for value in values]
            for velocity, gradient in zip(self.velocities, gradients, strict=True):
                velocity.mul_(self.training.momentum).add_(gradient)
            directions = self.velocities
        for value, direction in zip(values, directions, strict=True):
            value.sub_(direction, alpha=self.training.learning_rate)


def shrinkage(training: Training, steps: int) -> list[float]:
    """α_0 … α_steps: W_t = α_t W_0 + (what the gradients add). Without momentum α_t = (1 − lr·wd)ᵗ."""
    value, velocity, factors = 1.0, 0.0, [1.0]
    for _ in range(steps):
        velocity = training.momentum * velocity + training.weight_decay * value
        value -= training.learning_rate * velocity
        factors.append(value)
    return factors


def impulse_response(training: Training, steps: int) -> list[float]:
    """How far a unit gradient, given once, has moved a weight 1, 2, … `steps` updates later."""
    value, velocity, moved = 0.0, 0.0, []
    for step in range(steps):
        velocity = training.momentum * velocity + training.weight_decay * value + (step == 0)
        value -= training.learning_rate * velocity
        moved.append(value)
    return moved
