"""True- and false-positive rates: how often a real victim (H0) scores as low as chance (H1) seldom does.

Scores are distances, so low is a hit: TPR(τ) = P(H0 ≤ τ), FPR(τ) = P(H1 ≤ τ). Rows of one victim share one model and
are not independent, so intervals come from resampling whole victims.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval. `bound`: the sample cannot resolve it, and all it says is: at most `high`."""

    value: float
    low: float
    high: float
    bound: bool = False


@dataclass(frozen=True)
class Rates:
    """Of one set of scores (all of them, or one class's)."""

    auc: Estimate
    tpr_at_fpr: tuple[Estimate, ...]
    tpr_at_threshold: Estimate
    fpr_at_threshold: Estimate


def auc(h0: np.ndarray, h1: np.ndarray) -> float:
    """P(H0 < H1) + ½ P(H0 = H1)."""
    null = np.sort(h1, axis=None)
    below, upto = (np.searchsorted(null, h0.ravel(), side) for side in ("left", "right"))
    return float(1 - (below + upto).mean() / (2 * null.size))


def tpr_at_fpr(h0: np.ndarray, h1: np.ndarray, rate: float) -> float:
    """TPR at the highest threshold at which no more than `rate` of H1 is hit."""
    null = np.sort(h1, axis=None)
    allowed = int(np.floor(rate * null.size + 1e-9))
    return float((h0 < null[allowed]).mean()) if allowed < null.size else 1.0


def roc_curve(h0: np.ndarray, h1: np.ndarray, points: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """(FPR, TPR) on a grid of FPRs that is dense at both ends of a logarithmic axis."""
    fpr = np.unique(np.concatenate([[0.0], np.geomspace(1 / h1.size, 1, points), np.linspace(0, 1, points)]))
    return fpr, np.array([tpr_at_fpr(h0, h1, rate) for rate in fpr])


def rates(
    h0: np.ndarray,
    h1: np.ndarray,
    threshold: float,
    false_positive_rates: Sequence[float],
    bootstraps: int,
    generator: np.random.Generator,
) -> Rates:
    """Rates of scores (V, G) from V victims; raises UserError for fewer than 2 victims or NaN."""
    for name, scores in (("H0", h0), ("H1", h1)):
        if len(scores) < 2 or not np.isfinite(scores).all():
            raise UserError(
                f"{name} has {len(scores)} victims, all finite: {bool(np.isfinite(scores).all())}; need 2 or more"
            )
    draws = [
        (generator.integers(len(h0), size=len(h0)), generator.integers(len(h1), size=len(h1)))
        for _ in range(bootstraps)
    ]

    def estimate(statistic: Callable[[np.ndarray, np.ndarray], float], bound: bool = False) -> Estimate:
        value = statistic(h0, h1)
        low, high = np.quantile([statistic(h0[rows], h1[others]) for rows, others in draws], (0.025, 0.975))
        # Where every victim agrees, resampling sees no doubt; Clopper and Pearson's interval for 0 or all of n does.
        doubt = 1 - 0.025 ** (1 / len(h0))
        low = min(low, 1 - doubt) if value == 1 else low
        high = max(high, doubt) if value == 0 else high
        return Estimate(value, float(low), float(high), bound)

    finest = 1 / h1.size
    return Rates(
        auc=estimate(auc),
        tpr_at_fpr=tuple(
            estimate(lambda a, b, rate=rate: tpr_at_fpr(a, b, max(rate, finest)), rate < finest)
            for rate in false_positive_rates
        ),
        tpr_at_threshold=estimate(lambda a, b: float((a <= threshold).mean())),
        fpr_at_threshold=estimate(lambda a, b: float((b <= threshold).mean())),
    )
