"""A lower bound on ε, with confidence, from what an attack found: many victims with the record, and as many without it.

The estimator is that of many runs (Jagielski, Ullman and Oprea 2020; Nasr et al. 2021, 2023). (ε, δ)-DP bounds every
event E: P(E) ≤ e^ε Q(E) + δ, P with the record and Q without, and the other way round. So with confidence ε ≥
log((P_low − δ) / Q_high). That asks for few false positives, hence many victims. Within the family of DP-SGD with the
same sampling, one pair of rates says more: the largest σ whose f allows (Q_high, P_low) is an upper bound on the noise
that was really added, and its ε a lower bound on the real one (Nasr et al. 2023). Thresholds come from one half of the
victims and rates from the other, and the other way round.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from pipeline.errors import UserError
from pipeline.evaluation.intervals import Victims, clopper_pearson, share
from pipeline.privacy.trade_off import TradeOff, trade_off
from pipeline.shadow.accountant import Guarantee, epsilon

MISSED = 0.05
"""All bounds of an audit hold together with probability 95 %."""
TAIL = MISSED / 8
"""Of each rate: two halves, two ways to choose a threshold, a bound on either rate."""
CANDIDATES = 256
"""Thresholds that are looked at, evenly spread over the ranks of the scores."""
LEAST_NOISE, MOST_NOISE = 1 / 16, 128.0


@dataclass(frozen=True)
class Bound:
    """At a threshold chosen on other victims: TPR is at least `tpr`, FPR at most `fpr`."""

    tpr: float
    fpr: float


@dataclass(frozen=True)
class Audit:
    """epsilon: lower bound at the claimed δ, whatever the mechanism. family_noise, family_epsilon: the most noise that
    DP-SGD with the claimed sampling can have added, and the least ε that it then spent. refuted: the rates lie above
    the claimed f. bounds: those that the comparison with f rests on. All with 95 % confidence together."""

    epsilon: float
    family_noise: float
    family_epsilon: float
    refuted: bool
    bounds: tuple[Bound, ...]


def audit(
    h0: np.ndarray,
    h1: np.ndarray,
    claimed: Guarantee,
    generator: np.random.Generator,
    units: np.ndarray | None = None,
) -> Audit:
    """Of scores h0 (V, R0) with the record and h1 (V, R1) without it, low for a member; row v is one training set.

    `units` (V,): the independent unit of each victim; none = each is its own. Raises UserError for tables that differ
    in their victims or have fewer than four units.
    """
    direct = held_out_bounds(h0, h1, likelihood_ratio(claimed.delta), generator, units)
    best = held_out_bounds(h0, h1, separation, generator, units)
    noise = _most_noise(best, claimed)
    return Audit(
        epsilon=max(0.0, *(_direct_epsilon(bound, claimed.delta) for bound in direct)),
        family_noise=noise,
        family_epsilon=_epsilon_of(noise, claimed),
        refuted=crosses(best, trade_off(claimed.noise_multiplier, claimed.sample_rate, claimed.steps)),
        bounds=best,
    )


def crosses(bounds: tuple[Bound, ...], curve: TradeOff) -> bool:
    """Whether rates that are held with confidence lie above 1 − f: no mechanism with this f gives them."""
    return any(bound.tpr > curve.largest_tpr(bound.fpr) for bound in bounds)


Objective = Callable[[np.ndarray, np.ndarray], np.ndarray]


def held_out_bounds(
    h0: np.ndarray,
    h1: np.ndarray,
    objective: Objective,
    generator: np.random.Generator,
    units: np.ndarray | None = None,
) -> tuple[Bound, Bound]:
    """Of each half of the victims, at the threshold that maximises `objective` in the other; as `audit` takes them."""
    if h0.ndim != 2 or h1.ndim != 2 or len(h0) != len(h1):
        raise UserError(
            f"an audit needs two tables (victims, scores) of the same victims, not {h0.shape} and {h1.shape}"
        )
    units = np.unique(np.arange(len(h0)) if units is None else units, return_inverse=True)[1].reshape(-1)
    if units.max() < 3:
        raise UserError(
            f"an audit needs four independent victims or more, two for the threshold and two for the rates, not "
            f"{units.max() + 1}"
        )
    half = Victims.halved(units, generator).half
    found = []
    for side in (False, True):
        threshold = _best_threshold(h0[half == side], h1[half == side], objective)
        rated = half != side
        own = np.unique(units[rated], return_inverse=True)[1]
        hits, false_hits = (share(table[rated] <= threshold, own, TAIL) for table in (h0, h1))
        found.append(Bound(float(hits[1]), float(false_hits[2])))
    return tuple(found)


def likelihood_ratio(delta: float) -> Objective:
    """log((P_low − δ) / Q_high), −∞ where P_low ≤ δ."""

    def value(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(np.asarray(low) - delta, 0)) - np.log(high)

    return value


def separation(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """μ of the Gaussian trade-off through a pair of rates, Φ⁻¹(P_low) − Φ⁻¹(Q_high)."""
    return ndtri(low) - ndtri(high)


def _direct_epsilon(bound: Bound, delta: float) -> float:
    """By the event of a hit, and by that of none, in which the two laws change places."""
    ratio = likelihood_ratio(delta)
    return max(float(ratio(bound.tpr, bound.fpr)), float(ratio(1 - bound.fpr, 1 - bound.tpr)))


def _best_threshold(h0: np.ndarray, h1: np.ndarray, objective: Objective) -> float:
    """Where the objective is largest for either event, rows taken as independent: a choice, not yet a claim."""
    scores = np.unique(np.concatenate([h0, h1], axis=None))
    thresholds = scores[np.linspace(0, len(scores) - 1, min(CANDIDATES, len(scores))).round().astype(int)]
    hits, false_hits = (np.searchsorted(np.sort(table, None), thresholds, "right") / table.size for table in (h0, h1))
    low, high = clopper_pearson(hits, h0.size, TAIL)[0], clopper_pearson(false_hits, h1.size, TAIL)[1]
    with np.errstate(invalid="ignore"):  # −∞ − −∞ where nothing is hit
        values = np.maximum(objective(low, high), objective(1 - high, 1 - low))
    return float(thresholds[np.nan_to_num(values, nan=-np.inf).argmax()])


def _most_noise(bounds: tuple[Bound, ...], claimed: Guarantee) -> float:
    """The largest σ whose f allows all bounds; infinite where any does, 0 where none."""

    def excess(log_noise: float) -> float:
        curve = trade_off(float(np.exp(log_noise)), claimed.sample_rate, claimed.steps)
        return min(float(curve.largest_tpr(bound.fpr)) - bound.tpr for bound in bounds)

    low, middle, high = np.log((LEAST_NOISE, claimed.noise_multiplier, MOST_NOISE))
    if excess(high) >= 0:
        return np.inf
    if excess(middle) >= 0:  # the usual case, and little noise is slow to count
        low = middle
    elif excess(low) < 0:
        return 0.0
    else:
        high = middle
    return float(np.exp(brentq(excess, low, high, xtol=1e-2)))


def _epsilon_of(noise: float, claimed: Guarantee) -> float:
    if not 0 < noise < np.inf:
        return 0.0 if noise else np.inf
    return epsilon(noise, sample_rate=claimed.sample_rate, steps=claimed.steps, delta=claimed.delta)
