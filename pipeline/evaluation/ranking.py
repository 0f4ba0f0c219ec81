"""Ranks of scores among those of the null: sorted once, reweighted for every bootstrap."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """Scores of some victims held against null scores of others.

    owner (m,), null_owner (n,): the victim (a row of its table) of each score, in ascending order of the scores.
    below, upto (n,): how many of the m scores are below each null score, and how many are not above it.
    """

    owner: np.ndarray
    null_owner: np.ndarray
    below: np.ndarray
    upto: np.ndarray

    @classmethod
    def of(
        cls, scores: np.ndarray, null: np.ndarray, rated: np.ndarray | None = None, fitted: np.ndarray | None = None
    ) -> "Ranking":
        """Of tables (V0, R0) and (V1, R1), whole or of the victims that the masks (V0,) and (V1,) name."""
        values, owner = _ascending(scores, rated)
        null_values, null_owner = _ascending(null, fitted)
        below, upto = (np.searchsorted(values, null_values, side) for side in ("left", "right"))
        return cls(owner, null_owner, below, upto)

    def tpr(self, weights: np.ndarray, null_weights: np.ndarray, fpr: np.ndarray) -> np.ndarray:
        """Share (F,) of the scores below the thresholds at which a further null score is with probability `fpr` (F,).

        weights (V0,), null_weights (V1,): how often each victim counts.
        """
        counted = self._counted(weights)
        passed = np.concatenate([[0.0], np.cumsum(null_weights[self.null_owner])])
        shares = np.concatenate([[0.0], counted[self.below] / counted[-1]])
        return np.interp(fpr * (passed[-1] + 1), passed, shares, right=1.0)

    def auc(self, weights: np.ndarray, null_weights: np.ndarray) -> float:
        """P(score < null) + ½ P(score = null)."""
        counted = self._counted(weights)
        rows = null_weights[self.null_owner]
        return float(rows @ (counted[self.below] + counted[self.upto]) / (2 * counted[-1] * rows.sum()))

    def _counted(self, weights: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(weights[self.owner])])


def _ascending(table: np.ndarray, victims: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.arange(len(table)) if victims is None else np.flatnonzero(victims)
    values = table[chosen].ravel()
    order = np.argsort(values, kind="stable")
    return values[order], chosen[order // table.shape[1]]
