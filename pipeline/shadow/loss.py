"""Cross-entropy of many heads at once, its mean and its slope; the binary one weighs positives."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """What the samples' logits (M, K, N) should say, in the terms in which the slope is p·scale − goal.

    goal: (M, K, N), one-hot, or for a single logit w·y with w the weight of a positive;
    scale: (M, 1, N), w·y + 1 − y for a single logit, none (= 1) for a softmax.
    """

    goal: Tensor
    scale: Tensor | None

    @classmethod
    def of(cls, labels: Tensor, outputs: int, positive_weight: float, dtype: torch.dtype) -> "Targets":
        """labels: (M, N), classes 0 … outputs-1, or 0/1 for a single logit."""
        if outputs > 1:
            return cls(F.one_hot(labels.long(), outputs).mT.to(dtype), None)
        positive = labels.unsqueeze(1).to(dtype)
        return cls(positive * positive_weight, positive * (positive_weight - 1) + 1)

    def __getitem__(self, chosen) -> "Targets":
        """Some of the models or samples, by an index of the shape (M, ·, N)."""
        return Targets(self.goal[chosen], None if self.scale is None else self.scale[chosen])

    def to(self, dtype: torch.dtype) -> "Targets":
        return Targets(self.goal.to(dtype), None if self.scale is None else self.scale.to(dtype))

    def slope(self, logits: Tensor) -> Tensor:
        """∂(cross-entropy of each sample)/∂logits (M, K, N)."""
        if self.scale is None:
            return logits.softmax(1).sub_(self.goal)
        return logits.sigmoid().mul_(self.scale).sub_(self.goal)

    def mean_loss(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of each model (M,)."""
        if self.scale is None:
            return -(logits.log_softmax(1) * self.goal).sum(1).mean(1)
        each = self.goal * F.softplus(-logits) + (self.scale - self.goal) * F.softplus(logits)
        return each.mean((1, 2))
