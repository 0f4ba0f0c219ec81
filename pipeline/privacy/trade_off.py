"""The trade-off function f of DP-SGD: how well any test can tell that one record took part in the training.

Neighbours differ by one record, added or removed (Poisson sampling). With P the law of what training gives away when
the record is there and Q when it is not, a test with false-positive rate α = Q(E) has TPR P(E) ≤ 1 − f(α) (Dong, Roth
and Su 2019). The best test is by the privacy loss log(dP/dQ) (Neyman and Pearson), whose law under P Opacus' PRV
accountant composes over all steps (Gopi, Lee and Wutschitz 2021). The law under Q follows from it: dQ = e^(−loss) dP.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from opacus.accountants.analysis.prv import (
    Domain,
    PoissonSubsampledGaussianPRV,
    TruncatedPrivacyRandomVariable,
    compose_heterogeneous,
    compute_safe_domain_size,
    discretize,
)

EPSILON_ERROR, DELTA_ERROR = 0.01, 1e-7
MOST_POINTS = 2**21
"""Of the discretised loss. Only noise so small that every test succeeds would need more."""
NEGLIGIBLE = 1e-9
"""Probability under P below which the convolution's rounding counts; the curve is drawn straight to (1, 1) there."""


@dataclass(frozen=True)
class TradeOff:
    """Corners (n,) of the curve of best tests, ascending from (0, 0) to (1, 1); straight in between, as randomised
    tests are."""

    fpr: np.ndarray
    tpr: np.ndarray

    def largest_tpr(self, fpr: np.ndarray | float) -> np.ndarray:
        """1 − f(fpr), the ceiling of every test's true-positive rate."""
        return np.interp(fpr, self.fpr, self.tpr)


@lru_cache(maxsize=8)
def trade_off(noise_multiplier: float, sample_rate: float, steps: int) -> TradeOff:
    """f of `steps` Gaussian steps of noise σ, each on a Poisson sample of rate q."""
    loss = PoissonSubsampledGaussianPRV(sample_rate, noise_multiplier)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # logarithms of 0 at losses that cannot be
        warnings.simplefilter("ignore")
        reach = compute_safe_domain_size([loss], [steps], EPSILON_ERROR, DELTA_ERROR)
        mesh = EPSILON_ERROR / np.sqrt(steps * np.log(12 / DELTA_ERROR) / 2)
        domain = Domain.create_aligned(-reach, reach, max(mesh, 2 * reach / MOST_POINTS))
        single = discretize(TruncatedPrivacyRandomVariable(loss, domain.t_min, domain.t_max), domain)
        composed = compose_heterogeneous([single], [steps])
    losses, mass = composed.domain.ts[::-1], composed.pmf[::-1].clip(0)
    tpr = np.cumsum(mass / mass.sum())
    kept = np.searchsorted(tpr, 1 - NEGLIGIBLE)
    with np.errstate(divide="ignore", over="ignore"):
        fpr = np.cumsum(np.exp(np.log(mass[:kept]) - losses[:kept]))
    return TradeOff(np.r_[0.0, fpr.clip(max=1.0), 1.0], np.r_[0.0, tpr[:kept], 1.0])
