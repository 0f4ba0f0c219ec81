"""Reconstruction robustness (Balle, Cherubin and Hayes 2022): how often DP-SGD lets anybody rebuild a record.

An adversary who knows all other records, and of the one only the prior π, succeeds when ρ(z, ẑ) ≤ τ. Without the model
its best guess succeeds with probability κ(τ) = sup_ẑ P_{z~π}(ρ(z, ẑ) ≤ τ). Success is an event that has probability at
most κ where the record took no part, so with it at most 1 − f(κ) (Hayes, Mahloujifar and Balle 2023; Kaissis et al.
2023).
"""

import numpy as np

from pipeline.privacy.trade_off import TradeOff


def reconstruction_ceiling(curve: TradeOff, prior_success: np.ndarray | float) -> np.ndarray:
    """1 − f(κ), the largest share of records that any adversary rebuilds, at the prior's success κ.

    κ measured by the best guess that was found is at most the supremum, so this ceiling is then one for adversaries
    whose prior knowledge is no better than that guess.
    """
    return curve.largest_tpr(prior_success)
