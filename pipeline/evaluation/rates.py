"""True- and false-positive rates: how often a real victim (H0) scores below a threshold that the null (H1) seldom does.

Fits and thresholds come from one half of the victims, rates from the other, and the other way round; the two are
averaged. The threshold for a false-positive rate f lies where f (n + 1) of the n null scores of its half are below,
between two scores by interpolation: a further null score is then below it with probability f, whatever its law.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluation.curves import LARGEST_MSE, Gaussian, analytic_tpr, evidence, phi
from pipeline.evaluation.intervals import Victims, around, no_narrower, resamples, share
from pipeline.evaluation.ranking import Ranking

METHODS = ("empirical", "neyman_pearson", "analytic")
FEWEST_VICTIMS = 4
CURVE_POINTS = 48


@dataclass(frozen=True)
class Rates:
    """Of one set of scores (all of them, or one class's). A last axis of 3 is value, low and high (95 %).

    auc, threshold_tpr, threshold_fpr: (3,). tpr: (methods, F, 3), NaN where scores do not vary and nothing can be
    fitted. measured_fpr: (2, F), empirical and Neyman-Pearson, in the half that did not set the threshold. resolved:
    (F,), false where not one null score of a half is expected below the threshold; tpr is then that of the smallest
    rate that is resolved, and its upper end alone means anything. curve_fpr (n,) and curve (methods, n, 3) likewise.
    """

    auc: np.ndarray
    threshold_tpr: np.ndarray
    threshold_fpr: np.ndarray
    tpr: np.ndarray
    measured_fpr: np.ndarray
    resolved: np.ndarray
    curve_fpr: np.ndarray
    curve: np.ndarray


def rates(
    h0: np.ndarray,
    h1: np.ndarray,
    threshold: float,
    false_positive_rates: Sequence[float],
    bootstraps: int,
    generator: np.random.Generator,
    units: np.ndarray | None = None,
    dealings: int = 1,
) -> Rates:
    """Rates of min-MSE tables (V0, R0) and (V1, R1), a row a victim; raises UserError for tables that say nothing.

    With V0 = V1, row v of both is the same training set. `units` (V0,), then: the independent unit of each victim, such
    as the person that it is about; none = every victim is its own. Halves and intervals are by units. `dealings`: how
    many test seeds the victims are of, which deal the same images (see intervals).
    """
    refuse_useless("H0", h0)
    refuse_useless("H1", h1)
    if units is not None:
        units = np.unique(units, return_inverse=True)[1].reshape(-1)
        if units.max() + 1 < FEWEST_VICTIMS:
            raise UserError(
                f"the victims are about {units.max() + 1} persons; rates need at least {FEWEST_VICTIMS}, two for the "
                "thresholds and two for the rates"
            )
    victims = _halves(len(h0), len(h1), units, dealings, generator)
    halves = tuple(one.half for one in victims)
    finest = 1 / (min(halves[1].sum(), (~halves[1]).sum()) * h1.shape[1] + 1)
    wanted = np.asarray(false_positive_rates, dtype=float)
    curve_fpr = np.unique(np.concatenate([np.geomspace(finest, 1, CURVE_POINTS), np.linspace(finest, 1, CURVE_POINTS)]))
    grid = np.concatenate([np.maximum(wanted, finest), curve_fpr])

    whole, values, null = Ranking.of(h0, h1), phi(h0), phi(h1)
    crossed, moments = [_crossed(h0, h1, halves, _as_they_are)], []
    if _vary(values, halves[0]) and _vary(null, halves[1]):
        crossed.append(_crossed(values, null, halves, _by_evidence))
        moments = [Moments.of(values), Moments.of(null)]
    areas, tprs = [], []
    for weights in resamples(victims, bootstraps, generator):
        areas.append(whole.auc(*weights))
        tprs.append([_mean_tpr(hits, *weights, grid) for hits, _ in crossed])
        if moments:
            fits = (moment.fit(weight) for moment, weight in zip(moments, weights, strict=True))
            tprs[-1].append(analytic_tpr(*fits, grid))
    fewest, once = min(one.number for one in victims), np.ones(len(h1))
    tpr = _filled(around(np.array(tprs[0]), np.array(tprs[1:]), fewest), len(METHODS))
    tpr[: len(crossed)] = no_narrower(tpr[: len(crossed)], h0.size // dealings)
    measured = np.array([_mean_tpr(false_hits, once, once, grid[: len(wanted)]) for _, false_hits in crossed])
    return Rates(
        auc=around(np.array(areas[0]), np.array(areas[1:]), fewest),
        threshold_tpr=share(h0 <= threshold, units, dealings=dealings),
        threshold_fpr=share(h1 <= threshold, units if len(h1) == len(h0) else None, dealings=dealings),
        tpr=tpr[:, : len(wanted)],
        measured_fpr=_filled(measured, len(METHODS) - 1),
        resolved=wanted >= finest,
        curve_fpr=curve_fpr,
        curve=tpr[:, len(wanted) :],
    )


def refuse_useless(name: str, scores: np.ndarray) -> None:
    """Raises UserError for a table with too few victims, without columns, or with a score that cannot be an MSE."""
    if scores.ndim != 2 or len(scores) < FEWEST_VICTIMS or not scores.shape[1]:
        raise UserError(
            f"{name} has the shape {scores.shape}; rates need scores (victims, reconstructions) of at least "
            f"{FEWEST_VICTIMS} victims, two for the thresholds and two for the rates"
        )
    wrong = ~((scores >= 0) & (scores <= LARGEST_MSE))
    if wrong.any():
        victim, column = np.argwhere(wrong)[0]
        raise UserError(
            f"{name}: {wrong.sum()} of {scores.size} scores cannot be an MSE between images in [-1, 1], first that of "
            f"victim {victim}, reconstruction {column}: {scores[victim, column]}"
        )


def _halves(
    victims: int, null_victims: int, units: np.ndarray | None, dealings: int, generator: np.random.Generator
) -> tuple[Victims, Victims]:
    """Which half each victim of H0 and of H1 is in; the same one where both tables have the same victims."""
    own = Victims.halved(np.arange(victims) if units is None else units, generator, dealings)
    return own, own if victims == null_victims else Victims.halved(np.arange(null_victims), generator, dealings)


def _vary(values: np.ndarray, half: np.ndarray) -> bool:
    """Whether Gaussians can be fitted to either half."""
    return all(np.ptp(values[half == side]) > 0 for side in (False, True))


def _filled(rows: np.ndarray, methods: int) -> np.ndarray:
    """With NaN for the methods that could not be fitted."""
    return np.concatenate([rows, np.full((methods - len(rows), *rows.shape[1:]), np.nan)])


Tables = tuple[np.ndarray, np.ndarray]
Crossed = tuple[list[Ranking], list[Ranking]]


def _crossed(
    h0: np.ndarray, h1: np.ndarray, halves: Tables, scored: Callable[[np.ndarray, np.ndarray, Tables], Tables]
) -> Crossed:
    """One half's thresholds in the other half's H0 (for the TPR) and H1 (for the FPR), and the other way round."""
    hits, false_hits = [], []
    for side in (False, True):
        fitted, null_fitted = (half == side for half in halves)
        scores, null = scored(h0, h1, (fitted, null_fitted))
        hits.append(Ranking.of(scores, null, ~fitted, null_fitted))
        false_hits.append(Ranking.of(null, null, ~null_fitted, null_fitted))
    return hits, false_hits


def _as_they_are(h0: np.ndarray, h1: np.ndarray, fitted: Tables) -> Tables:
    return h0, h1


def _by_evidence(values: np.ndarray, null: np.ndarray, fitted: Tables) -> Tables:
    """φ of both tables as log-likelihood ratios of Gaussians fitted to the `fitted` victims."""
    fits = Gaussian.fit(values[fitted[0]]), Gaussian.fit(null[fitted[1]])
    return evidence(values, *fits), evidence(null, *fits)


def _mean_tpr(rankings: list[Ranking], weights: np.ndarray, null_weights: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    return np.mean([ranking.tpr(weights, null_weights, fpr) for ranking in rankings], axis=0)


@dataclass(frozen=True)
class Moments:
    """Sums (V,) of each victim's R scores and of their squares: Gaussian fits for any weighing of victims."""

    sums: np.ndarray
    squares: np.ndarray
    rows: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        return cls(values.sum(1), (values**2).sum(1), values.shape[1])

    def fit(self, weights: np.ndarray) -> Gaussian:
        count = weights.sum() * self.rows
        mean = weights @ self.sums / count
        return Gaussian(mean, np.sqrt(max(weights @ self.squares / count - mean**2, 0.0)))


def victims_by_recovered(hits: np.ndarray) -> np.ndarray:
    """(R + 1,): how many of the victims (V, R) have 0, 1, … R rows that are hits."""
    return np.bincount(hits.sum(1), minlength=hits.shape[1] + 1)
