"""Activations read backwards: from an output, the pre-activation that caused it and the slope there (R-CONV, §3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ReLU:
    """Hides every pre-activation whose output is zero; see `relu_mask` for telling zero from small."""


@dataclass(frozen=True)
class LeakyReLU:
    slope: float

    def invert(self, output: Tensor) -> tuple[Tensor, Tensor]:
        derivative = torch.ones_like(output).masked_fill(output < 0, self.slope)
        return output / derivative, derivative


@dataclass(frozen=True)
class ELU:
    alpha: float

    def invert(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Pre-activation and derivative; an output at or below −α is out of reach: NaN, with derivative 0."""
        negative = output < 0
        pre = torch.where(negative, torch.log1p(output / self.alpha), output)
        derivative = torch.where(negative, output + self.alpha, 1.0).clamp(min=0)
        return pre, derivative


@dataclass(frozen=True)
class Sigmoid:
    def invert(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """σ⁻¹ and σ' = a(1−a); an output outside (0, 1) is out of reach: NaN or ±∞, with derivative 0."""
        return torch.logit(output), (output * (1 - output)).clamp(min=0)


@dataclass(frozen=True)
class Tanh:
    def invert(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """artanh and 1−a²; an output outside (−1, 1) is out of reach: NaN or ±∞, with derivative 0."""
        return torch.atanh(output), (1 - output * output).clamp(min=0)


Activation = ReLU | LeakyReLU | ELU | Sigmoid | Tanh
