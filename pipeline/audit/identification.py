"""When an image counts as rebuilt: the picture must point to this image, and this head must be the one that gives it.

d(h, x) is the mean squared error between an image x and the nearest picture of its class that head h gives. It is
compared twice, each time as log d, which is nearly Gaussian over either population:

    z_head(h, x)   against d(r, x) of heads r of the same recipe that never saw x: does any head say as much of x?
    z_image(h, x)  against d(h, y) of other images y of the class: is any as near to the picture?

The score is the larger of the two, so both must be small: a blurred picture is near to every image, and an image near
to the class mean is near to every picture. Where x is a stranger to h, the pair (h, x) is one of a population of such
pairs. The threshold of a false-positive rate is an order statistic of that population: whatever the law of the scores,
a further stranger's is below it at that rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audit.held_out import FIRST, SECOND
from pipeline.evaluation.intervals import clopper_pearson

SMALLEST = 1e-12
CROSSED = ((FIRST, SECOND), (SECOND, FIRST))
"""Each half is judged by thresholds from the other."""


@dataclass(frozen=True)
class Background:
    """What distances are like by themselves, of n images with class `labels` (n,): `others` (R, n) are those to the
    pictures of heads that saw none of them."""

    others: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Pool:
    """`distances` (H, m) from the pictures of H heads to m other images, of class `labels` (m,), that no head saw."""

    distances: np.ndarray
    labels: np.ndarray


def scores(distances: np.ndarray, background: Background, pool: Pool) -> np.ndarray:
    """(H, n): the larger of z_head and z_image, for d (H, n) of H heads and the background's n images."""
    value, others, elsewhere = (
        np.log(table.clip(SMALLEST)) for table in (distances, background.others, pool.distances)
    )
    found = (value - others.mean(0)) / others.std(0).clip(SMALLEST)
    for number in np.unique(background.labels):
        mine, theirs = background.labels == number, elsewhere[:, pool.labels == number]
        centre, spread = theirs.mean(1, keepdims=True), theirs.std(1, keepdims=True).clip(SMALLEST)
        found[:, mine] = np.maximum(found[:, mine], (value[:, mine] - centre) / spread)
    return found


def rank_among(value: np.ndarray, others: np.ndarray) -> np.ndarray:
    """p-values (…): (1 + how many of `others` (m, …) are as small) / (m + 1), valid whatever their law."""
    return (1 + (others <= value).sum(0)) / (len(others) + 1)


def threshold_at(rate: float, strangers: np.ndarray) -> float:
    """The score below which a further stranger's falls with probability `rate`; −∞ where too few are known for it."""
    place = int(rate * (strangers.size + 1))
    return float(np.partition(strangers, place - 1, axis=None)[place - 1]) if place else -np.inf


@dataclass(frozen=True)
class Attacked:
    """Scores (T, n) of T heads with known members, for the n images that any of them was dealt.

    member (T, n): whether the image trained the head; stranger (T, n): whether it is another of its half's images;
    half (T,): FIRST or SECOND, which have no image in common.
    """

    scores: np.ndarray
    member: np.ndarray
    stranger: np.ndarray
    half: np.ndarray

    def strangers_of(self, half: int) -> np.ndarray:
        rows = self.half == half
        return self.scores[rows][self.stranger[rows]]


@dataclass(frozen=True)
class Rates:
    """At each wanted rate (F,): threshold, from all strangers; fpr and tpr (F, 3) with 95 % intervals, each half judged
    by the other's threshold; recovered (F, N + 1): tested heads by how many of their N images count as rebuilt."""

    wanted: np.ndarray
    threshold: np.ndarray
    fpr: np.ndarray
    tpr: np.ndarray
    recovered: np.ndarray


def rates(tested: Attacked, wanted: Sequence[float]) -> Rates:
    """Of two halves of tested heads, each with N members."""
    images = int(tested.member[0].sum())
    strangers = np.concatenate([tested.strangers_of(half) for half in (FIRST, SECOND)])
    rows = []
    for rate in wanted:
        limits = {half: threshold_at(rate, tested.strangers_of(other)) for half, other in CROSSED}
        hit = tested.scores <= np.array([limits[half] for half in tested.half])[:, None]
        recovered = np.bincount((hit & tested.member).sum(1), minlength=images + 1)
        shares = share_of_pairs(hit, tested.stranger), share_of_pairs(hit, tested.member)
        rows.append((threshold_at(rate, strangers), *shares, recovered))
    return Rates(np.array(wanted, float), *(np.array(column) for column in zip(*rows, strict=True)))


def share_of_pairs(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(3,): the share of hits among the pairs (T, n) of a head and an image that are `counted`, and its 95 % interval.

    Pairs of one head share its pictures, pairs of one image its likeness to others: the interval is the wider of those
    that take heads, and images, for what is independent (Korn and Graubard 1998, see evaluation.intervals).
    """
    value = hits[counted].mean()
    ends = [_interval(value, hits & counted, counted, axis) for axis in (1, 0)]
    return np.array([value, min(low for low, _ in ends), max(high for _, high in ends)])


def _interval(value: float, hits: np.ndarray, counted: np.ndarray, axis: int) -> tuple[float, float]:
    sums, counts = hits.sum(axis), counted.sum(axis)
    variance = ((sums - value * counts) ** 2).sum() / counts.sum() ** 2
    rows = min(value * (1 - value) / variance, counts.sum()) if variance > 0 else (counts > 0).sum()
    low, high = clopper_pearson(value, rows)
    return float(low), float(high)
