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

    labels (n,): their classes; member (T, n): whether the image trained the head; stranger (T, n): whether it is
    another of its half's images; half (T,): FIRST or SECOND, which have no image in common.
    """

    labels: np.ndarray
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


def rates(attacked: Attacked, wanted: Sequence[float]) -> Rates:
    """Of two halves of attacked heads, each with N members."""
    images = int(attacked.member[0].sum())
    strangers = np.concatenate([attacked.strangers_of(half) for half in (FIRST, SECOND)])
    shown = behind_the_picture(attacked.member, attacked.labels)
    rows = []
    for rate in wanted:
        limits = {half: threshold_at(rate, attacked.strangers_of(other)) for half, other in CROSSED}
        hit = attacked.scores <= np.array([limits[half] for half in attacked.half])[:, None]
        recovered = np.bincount((hit & attacked.member).sum(1), minlength=images + 1)
        shares = (share_of_pairs(hit, counted, shown) for counted in (attacked.stranger, attacked.member))
        rows.append((threshold_at(rate, strangers), *shares, recovered))
    return Rates(np.array(wanted, float), *(np.array(column) for column in zip(*rows, strict=True)))


def behind_the_picture(member: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(T, n): of each head, the first of its images that has the class of each of n images, of `labels` (n,)."""
    found = np.empty(member.shape, dtype=np.int64)
    for number in np.unique(labels):
        columns = np.flatnonzero(labels == number)
        found[:, columns] = columns[member[:, columns].argmax(1)][:, None]
    return found


def share_of_pairs(hits: np.ndarray, counted: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(3,): the share of hits among the pairs (T, n) of a head and an image that are `counted`, and its 95 % interval.

    A pair holds an image x against a picture, which another image, `shown` (T, n), has left in the head. Neither kind
    of image is independent of pair to pair: what comes again in many pairs is the image, not the head, of which any
    number can be trained. The variances by either add (two-way clusters), and the interval is Clopper and Pearson's at
    the effective number of pairs (Korn and Graubard 1998, see evaluation.intervals).
    """
    rows, columns = np.nonzero(counted)
    hit, total = hits[rows, columns].astype(float), len(rows)
    value = hit.mean()
    variance = sum(_variance(hit - value, units) for units in (columns, shown[rows, columns]))
    effective = min(value * (1 - value) / variance, total) if variance > 0 else len(np.unique(columns))
    return np.array([value, *map(float, clopper_pearson(value, effective))])


def _variance(residuals: np.ndarray, units: np.ndarray) -> float:
    """Of a mean whose residuals (p,) are independent from unit to unit alone."""
    return float((np.bincount(units, weights=residuals) ** 2).sum()) / len(residuals) ** 2
