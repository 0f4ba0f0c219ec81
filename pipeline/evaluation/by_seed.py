"""Rates of each test seed by itself, and over all of them."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from pipeline.evaluation.intervals import over_dealings
from pipeline.evaluation.rates import Rates

TOLD = ("auc", "tpr", "threshold_tpr", "threshold_fpr")


def rates_by_seed(seeds: np.ndarray, rate: Callable[[int, np.ndarray], Rates]) -> dict[str, np.ndarray]:
    """Of victims of the test seeds `seeds` (V,), numbered from 0, rated by `rate(seed, rows)`, `rows` (V,) bool.

    by_seed/<name> (T, …, 3): auc, tpr, threshold_tpr and threshold_fpr of each seed; by_seed/resolved (T, F).
    over_seeds/<name> (…, 3): their mean over seeds, with the interval of other dealings of the same images.
    """
    found = [asdict(rate(seed, seeds == seed)) for seed in range(seeds.max() + 1)]
    apart = {name: np.stack([one[name] for one in found]) for name in (*TOLD, "resolved")}
    over = {f"over_seeds/{name}": over_dealings(apart[name][..., 0]) for name in TOLD}
    return {f"by_seed/{name}": values for name, values in apart.items()} | over
