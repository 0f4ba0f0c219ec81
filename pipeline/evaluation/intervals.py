"""95 % intervals that know that the rows of one victim share one model: victims are resampled, never rows."""

from collections.abc import Iterator

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

TAIL = 0.025


def share(hits: np.ndarray) -> np.ndarray:
    """(3,): the share of hits among (V, R) yes-or-no rows of V victims, and its interval.

    Clopper and Pearson's at the effective sample size (Korn and Graubard 1998), the number of independent rows with the
    same variance. With one row a victim it is Clopper and Pearson's own; where all rows agree, victims count.
    """
    per_victim = hits.mean(1)
    value, victims = per_victim.mean(), len(hits)
    variance = per_victim.var() / victims
    rows = min(value * (1 - value) / variance, hits.size) if variance > 0 else victims
    return np.array([value, *clopper_pearson(value, rows)])


def clopper_pearson(value: np.ndarray, rows: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of shares (…) among independent rows; `rows` need not be whole."""
    found = np.asarray(value) * rows
    low = np.where(found > 0, betaincinv(np.maximum(found, 1e-9), rows - found + 1, TAIL), 0.0)
    high = np.where(found < rows, betaincinv(found + 1, np.maximum(rows - found, 1e-9), 1 - TAIL), 1.0)
    return low, high


def resamples(
    halves: tuple[np.ndarray, np.ndarray], bootstraps: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each victim of H0 (V0,) and of H1 (V1,) is drawn: first each of them once, then `bootstraps` draws.

    `halves` say which half each victim is in; a half is drawn from itself. Where both tables have the same halves, row
    v of both is the same training set, and they are drawn together.
    """
    yield tuple(np.ones(len(half)) for half in halves)
    together = halves[0] is halves[1]
    for _ in range(bootstraps):
        drawn = [_draw(half, generator) for half in (halves[:1] if together else halves)]
        yield drawn[0], drawn[-1]


def _draw(half: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """half (V,) says which half each victim is in."""
    counts = np.zeros(len(half))
    for side in (False, True):
        members = np.flatnonzero(half == side)
        counts += np.bincount(members[generator.integers(len(members), size=len(members))], minlength=len(half))
    return counts


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

    A handful of hits, resampled, looks surer than it is.
    """
    value, low, high = np.moveaxis(estimates, -1, 0)
    exact = clopper_pearson(value, rows)
    return np.stack([value, np.minimum(low, exact[0]), np.maximum(high, exact[1])], -1)
