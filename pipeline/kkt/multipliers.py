"""Multipliers λ of the stationarity condition: how many there are, where they start, what they make of each logit."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import UserError
from pipeline.kkt.problems import signs
from pipeline.kkt.stationarity import Coefficients

PENALTY = 5.0
"""Weight of the multipliers' own term, as published."""


def candidate_labels(candidates: int, classes: int) -> Tensor:
    """(m,) classes, in blocks, each as often as any other (or once more); raises UserError for fewer than classes."""
    if candidates < classes:
        raise UserError(
            f"kkt.attack.candidates is {candidates}; the victim tells {classes} classes apart, and each needs one"
        )
    return torch.arange(candidates) * classes // candidates


def first_multipliers(loss: str, candidates: int, classes: int, generator: torch.Generator) -> Tensor:
    """U(0, 1) for each candidate (m,); general: N(0, 1), of free sign; full: (m, K), of which a row sums to about ½."""
    if loss == "general":
        return torch.randn(candidates, generator=generator, dtype=torch.float64)
    if loss == "full":
        return torch.rand(candidates, classes, generator=generator, dtype=torch.float64) / (classes - 1)
    return torch.rand(candidates, generator=generator, dtype=torch.float64)


def coefficients(loss: str, multipliers: Tensor, labels: Tensor) -> Coefficients:
    """How multipliers (T, m) or (T, m, K) of candidates with labels (m,) weigh the logits (T, m, K).

    binary: λy, y = ±1. general: λ. runner_up: λ for the own class, −λ for the strongest other. full: −λⱼ for every
    other class, their sum for the own.
    """
    return lambda logits: _COEFFICIENTS[loss](multipliers, labels, logits)


def _binary(multipliers: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    return (multipliers * signs(labels).to(multipliers))[..., None]


def _general(multipliers: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    return multipliers[..., None]


def _runner_up(multipliers: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    own = _own(labels, logits)
    strongest = logits.masked_fill(own, -torch.inf).argmax(-1)
    return multipliers[..., None] * (own.to(logits) - functional.one_hot(strongest, logits.shape[-1]))


def _full(multipliers: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    own = _own(labels, logits)
    others = multipliers.masked_fill(own, 0)
    return others.sum(-1, keepdim=True) * own - others


def _own(labels: Tensor, logits: Tensor) -> Tensor:
    """(T, m, K) bool: the own class of each candidate."""
    return functional.one_hot(labels, logits.shape[-1]).bool().expand_as(logits)


_COEFFICIENTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "binary": _binary,
    "general": _general,
    "runner_up": _runner_up,
    "full": _full,
}


def penalty(loss: str, multipliers: Tensor, labels: Tensor, minimum: Tensor) -> Tensor:
    """(T,): 5 Σ (λ_min − λ)₊². full: of the sum over other classes, and each for itself must not be negative."""
    if loss == "general":
        return 0 * multipliers.sum(1)
    if loss != "full":
        return PENALTY * (minimum[:, None] - multipliers).clamp(min=0).square().sum(1)
    others = multipliers.masked_fill(_own(labels, multipliers), 0)
    short = (minimum[:, None] - others.sum(-1)).clamp(min=0).square().sum(1)
    return PENALTY * (short + (-others).clamp(min=0).square().sum((1, 2)))
