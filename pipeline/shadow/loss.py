"""Cross-entropy of shadow heads and its slope; the binary one weighs positives. Samples are columns: (M, K, N)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def targets(labels: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Labels (M, N) as (M, K, N): one-hot, or 0/1 themselves for a single logit."""
    if outputs == 1:
        return labels.unsqueeze(1).to(dtype)
    return F.one_hot(labels.long(), outputs).mT.to(dtype)


def slope(logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    """∂(cross-entropy of each sample)/∂logits: p − y, or for one logit p·(w·y + 1 − y) − w·y."""
    if logits.shape[1] == 1:
        return logits.sigmoid() * (1 + (positive_weight - 1) * target) - positive_weight * target
    return logits.softmax(1).sub_(target)


def mean_loss(logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    """Mean cross-entropy of each model (M,)."""
    if logits.shape[1] == 1:
        weight = logits.new_tensor(positive_weight)
        each = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
        return each.mean((1, 2))
    return -(logits.log_softmax(1) * target).sum(1).mean(1)
