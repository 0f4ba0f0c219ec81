"""95 % intervals that know what is independent: victims, whose rows share one model, or the persons that several
victims are about; these units are resampled, never rows.

Several test seeds deal the same images again and again. That steadies a rate, but shows no new images, so intervals
around it stay as wide as those of so many victims as one seed deals: `dealings` is the number of seeds. How much a rate
varies between dealings alone, `over_dealings` says.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

TAIL = 0.025


def share(hits: np.ndarray, units: np.ndarray | None = None, tail: float = TAIL, dealings: int = 1) -> np.ndarray:
    """(3,): the share of hits among (V, R) yes-or-no rows of V victims, and its interval, `tail` left out at each end.

    `units` (V,): which independent unit each victim belongs to; none = each is its own. Clopper and Pearson's interval
    at the effective sample size (Korn and Graubard 1998), the number of independent rows with the same variance. With
    one row a unit it is Clopper and Pearson's own; where all rows agree, units count.
    """
    counts, sums = _by_unit(np.ones(len(hits)), units), _by_unit(hits.mean(1), units)
    value, number = sums.sum() / counts.sum(), len(counts) / dealings
    variance = dealings * ((sums - value * counts) ** 2).sum() / counts.sum() ** 2
    rows = min(value * (1 - value) / variance, hits.size / dealings) if variance > 0 else number
    return np.array([value, *clopper_pearson(value, rows, tail)])


def _by_unit(values: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    return values if units is None else np.bincount(units, weights=values)


def clopper_pearson(value: np.ndarray, rows: float, tail: float = TAIL) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of shares (…) among independent rows; `rows` need not be whole."""
    found = np.asarray(value) * rows
    low = np.where(found > 0, betaincinv(np.maximum(found, 1e-9), rows - found + 1, tail), 0.0)
    high = np.where(found < rows, betaincinv(found + 1, np.maximum(rows - found, 1e-9), 1 - tail), 1.0)
    return low, high


@dataclass(frozen=True)
class Victims:
    """units (V,): which independent unit each victim belongs to, numbered from 0; half (V,): which half it is in."""

    units: np.ndarray
    half: np.ndarray
    dealings: int = 1

    @classmethod
    def halved(cls, units: np.ndarray, generator: np.random.Generator, dealings: int = 1) -> "Victims":
        """A unit's victims are all in the same half."""
        return cls(units, (generator.permutation(units.max() + 1) % 2 == 0)[units], dealings)

    @property
    def number(self) -> int:
        """How many units one dealing has."""
        return (self.units.max() + 1) // self.dealings

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """(V,): how often each victim comes when each half's units are drawn from themselves, with replacement.

        Of several dealings, so many as one has are drawn from all, and each is counted `dealings` times.
        """
        counts = np.zeros(self.units.max() + 1)
        for side in (False, True):
            members = np.unique(self.units[self.half == side])
            drawn = members[generator.integers(len(members), size=max(1, len(members) // self.dealings))]
            counts += self.dealings * np.bincount(drawn, minlength=len(counts))
        return counts[self.units]


def resamples(
    victims: tuple[Victims, Victims], bootstraps: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each victim of H0 (V0,) and of H1 (V1,) is drawn: first each of them once, then `bootstraps` draws.

    Where both tables have the same victims, row v of both is the same training set, and they are drawn together.
    """
    yield tuple(np.ones(len(one.half)) for one in victims)
    together = victims[0] is victims[1]
    for _ in range(bootstraps):
        drawn = [one.draw(generator) for one in (victims[:1] if together else victims)]
        yield drawn[0], drawn[-1]


def around(value: np.ndarray, replicates: np.ndarray, victims: int) -> np.ndarray:
    """(…, 3): rates (…) with intervals from their bootstrap replicates (B, …).

    On the probit scale, in which curves of Gaussian scores are straight lines, the interval is centred at the value and
    as wide as the middle 95 % of the replicates: at small rates that covers better than their percentiles, which carry
    the bias twice. Where every victim agrees, resampling sees no doubt, but Clopper and Pearson's interval for 0 or all
    of `victims` does.
    """
    doubt = 1 - TAIL ** (1 / victims)
    least = doubt / 100
    below, above = ndtri(np.quantile(replicates, (TAIL, 1 - TAIL), axis=0).clip(least, 1 - least))
    centre, half_width = ndtri(np.clip(value, least, 1 - least)), (above - below) / 2
    low = np.minimum(ndtr(centre - half_width), value)
    high = np.maximum(ndtr(centre + half_width), value)
    low = np.where(value >= 1, np.minimum(low, 1 - doubt), low)
    high = np.where(value <= 0, np.maximum(high, doubt), high)
    return np.stack([value, low, high], -1)


def no_narrower(estimates: np.ndarray, rows: int) -> np.ndarray:
    """Estimates (…, 3) of shares among `rows`, with intervals no narrower than if those were independent.

    The bootstrap is too narrow for rare hits.
    """
    value, low, high = np.moveaxis(estimates, -1, 0)
    exact = clopper_pearson(value, rows)
    return np.stack([value, np.minimum(low, exact[0]), np.maximum(high, exact[1])], -1)


def over_dealings(rates: np.ndarray) -> np.ndarray:
    """(…, 3): the mean of the rates (T, …) of T ≥ 2 test seeds, and Student's 95 % interval for that of all seeds.

    It is about other dealings of the same images, and says nothing of other images.
    """
    mean, error = rates.mean(0), rates.std(0, ddof=1) / len(rates) ** 0.5
    reach = stdtrit(len(rates) - 1, 1 - TAIL) * error
    return np.stack([mean, (mean - reach).clip(0, 1), (mean + reach).clip(0, 1)], -1)
