"""Rates of membership scores, by the same halves and intervals as reconstruction's."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from pipeline.evaluation.curves import LARGEST_MSE
from pipeline.evaluation.rates import rates


def membership_rates(
    members: np.ndarray,
    others: np.ndarray,
    false_positive_rates: Sequence[float],
    bootstraps: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """auc (3,), tpr (F, 3), resolved (F,), curve_fpr (n,), curve (n, 3) of scores (V, G), high for a member.

    Rates depend on the order of the scores alone; ranks stand in for the distances that `rates` asks for.
    """
    ranks = rankdata(-np.concatenate([members, others]), axis=None).reshape(2, *members.shape)
    h0, h1 = ranks * LARGEST_MSE / (ranks.size + 1)
    found = rates(h0, h1, LARGEST_MSE / 2, false_positive_rates, bootstraps, generator)
    return {
        "auc": found.auc,
        "tpr": found.tpr[0],
        "resolved": found.resolved,
        "curve_fpr": found.curve_fpr,
        "curve": found.curve[0],
    }
