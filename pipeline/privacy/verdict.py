"""What a private experiment's scores say of its guarantee: f over every curve, the ceiling at κ, the least ε."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.intervals import share
from pipeline.privacy.audit import Audit, audit
from pipeline.privacy.robustness import reconstruction_ceiling
from pipeline.privacy.trade_off import TradeOff
from pipeline.shadow.accountant import Guarantee

Arrays = Mapping[str, np.ndarray]


def ceilings(curve: TradeOff, rates: Arrays, null: str, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """<null>/ceiling (S, n) at the points of the null's curves, <null>/wanted_ceiling (F,) at the wanted rates, and
    <null>/above (S, n), where the empirical curve's 95 % interval lies above it: each point by itself."""
    ceiling = curve.largest_tpr(rates[f"{null}/curve_fpr"])
    return {
        f"{null}/ceiling": ceiling,
        f"{null}/wanted_ceiling": curve.largest_tpr(wanted),
        f"{null}/above": rates[f"{null}/curve"][:, 0, :, 1] > ceiling,
    }


@dataclass(frozen=True)
class Audited:
    """arrays: what `audit` found, as a shard stores it; facts: its attributes."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, float | bool]


def audited(
    h0: np.ndarray, h1: np.ndarray, claimed: Guarantee, generator: np.random.Generator, units: np.ndarray | None
) -> Audited:
    """Of scores h0 (V, G) of records that took part, and h1 (V, draws, G) of the same in heads without them.

    audit/bounds (2, 2): TPR at least and FPR at most, of each half.
    """
    found = audit(h0, h1.reshape(len(h1), -1), claimed, generator, units)
    return Audited({"audit/bounds": np.array([[bound.tpr, bound.fpr] for bound in found.bounds])}, facts_of(found))


def facts_of(found: Audit) -> dict[str, float | bool]:
    return {
        "epsilon_lower": found.epsilon,
        "family_noise": found.family_noise,
        "family_epsilon": found.family_epsilon,
        "refuted": found.refuted,
    }


def robustness(
    curve: TradeOff, baselines: Arrays, h0: np.ndarray, threshold: float, units: np.ndarray | None, dealings: int = 1
) -> dict[str, np.ndarray]:
    """Of the records h0 (V, G) that a null takes out, pooled and group by group, with 95 % intervals; `dealings`: how
    often the images were dealt.

    robustness/rebuilt (S, 3): the share within the threshold; robustness/prior_success (S, 3): κ of the best guess
    without the model; robustness/ceiling (S, 3): what no adversary with this prior success exceeds.
    """
    guesses = np.stack([table for name, table in baselines.items() if name.endswith("/record_hits")])
    prior = np.take_along_axis(guesses, guesses[:, :, :1].argmax(0)[None], 0)[0]
    hits = h0 <= threshold
    scopes = [hits, *(hits[:, [group]] for group in range(hits.shape[1] if hits.shape[1] > 1 else 0))]
    return {
        "robustness/rebuilt": np.stack([share(one, units, dealings=dealings) for one in scopes]),
        "robustness/prior_success": prior[: len(scopes)],
        "robustness/ceiling": reconstruction_ceiling(curve, prior[: len(scopes)]),
    }
