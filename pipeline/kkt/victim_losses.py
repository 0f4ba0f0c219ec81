"""What victims minimise, as the logarithm of the mean loss: it stays a number when the loss itself is 1e-40."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.kkt.problems import signs

LINEAR_BEYOND = 30.0
"""Margin from which log(log(1 + e^−q)) is −q to all digits of float64."""


def margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """(n,): how far each image is on its right side. outputs (n, K), labels (n,) classes.

    One logit: ±Φ. Several: Φ_y − log Σ_{j≠y} exp Φ_j, whose softplus is cross-entropy.
    """
    if outputs.shape[1] == 1:
        return outputs[:, 0] * signs(labels)
    own = outputs.gather(1, labels[:, None])[:, 0]
    return own - outputs.scatter(1, labels[:, None], -math.inf).logsumexp(1)


def _log_mean_softplus(outputs: Tensor, labels: Tensor) -> Tensor:
    """log of the mean of log(1 + e^−margin): logistic loss and cross-entropy."""
    q = margins(outputs, labels)
    small = functional.softplus(-q.clamp(max=LINEAR_BEYOND)).log()
    return torch.where(q > LINEAR_BEYOND, -q, small).logsumexp(0) - math.log(len(q))


def _mean_squares(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.mse_loss(outputs[:, 0], signs(labels)).log()


def _mean_huber(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.huber_loss(outputs[:, 0], signs(labels)).log()


LOG_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logistic": _log_mean_softplus,
    "cross_entropy": _log_mean_softplus,
    "mse": _mean_squares,
    "huber": _mean_huber,
}
"""Logits (n, K) float64 and classes (n,) → log of the mean loss. Another loss is a line here and in settings.py."""


def errors(outputs: Tensor, labels: Tensor) -> Tensor:
    """(n,) bool: which images lie on the wrong side, or have a higher logit of another class."""
    if outputs.shape[1] == 1:
        return outputs[:, 0] * signs(labels) <= 0
    return outputs.argmax(1) != labels
