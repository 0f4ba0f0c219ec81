"""What a reader must know before believing the rates, in words."""

from collections.abc import Mapping

import numpy as np

from pipeline.evaluation.intervals import share

FEW_VICTIMS = 100


def cautions(
    h0: np.ndarray,
    h1: np.ndarray,
    rates: Mapping[str, np.ndarray],
    further: Mapping[str, Mapping[str, np.ndarray]],
    wanted: np.ndarray,
) -> list[str]:
    """Of scores h0 (V, G) and h1 (V, draws, G), rates against the main null and against each further one."""
    return [
        *_of_size(h0, h1, rates, wanted),
        *_of_fits(rates, wanted),
        *_of_nulls(rates, further),
    ]


def _of_size(h0: np.ndarray, h1: np.ndarray, rates: Mapping[str, np.ndarray], wanted: np.ndarray) -> list[str]:
    said = []
    if len(h0) < FEW_VICTIMS:
        said.append(f"Only {len(h0)} victims: the intervals are wide, and their own coverage is approximate.")
    unresolved = wanted[~rates["resolved"][0]]
    if len(unresolved):
        rate = unresolved.min()
        draws = int(np.ceil(2 / rate / h1[:, 0].size))
        said.append(
            f"{h1.size} null scores are too few to set a threshold for a false-positive rate of {100 * rate:g} %: of a "
            f"half of them, not one is expected below it. What is printed is a bound. evaluation.null_draws={draws} "
            "would resolve it."
        )
    by_class = [f"{100 * rate:g} %" for rate in wanted[rates["resolved"][0] & ~rates["resolved"].all(0)]]
    if by_class:
        said.append(
            f"Single classes cannot resolve a false-positive rate of {' or '.join(by_class)}; bounds are printed."
        )
    return said


def _of_fits(rates: Mapping[str, np.ndarray], wanted: np.ndarray) -> list[str]:
    empirical, _, analytic = rates["tpr"][0]
    if np.isnan(analytic).any():
        return ["Scores do not vary: no Gaussian can be fitted to φ, and the curves that need one are left out."]
    outside = (analytic[:, 0] < empirical[:, 1]) | (analytic[:, 0] > empirical[:, 2])
    wrong = [f"{100 * rate:g} %" for rate in wanted[outside & rates["resolved"][0]]]
    if not wrong:
        return []
    return [
        f"At a false-positive rate of {', '.join(wrong)} the analytic formula lies outside the empirical interval: φ "
        "is not Gaussian there. Believe the empirical rate."
    ]


def _of_nulls(rates: Mapping[str, np.ndarray], further: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    _, low, high = rates["auc"][0]
    said = []
    for null, other in further.items():
        value = other["auc"][0, 0]
        if not low <= value <= high:
            easier = "stricter" if value < low else "milder"
            said.append(
                f"The null of {null.replace('_', ' ')} is {easier}: against it the AUC is {value:.3f}, outside the "
                f"main null's {low:.3f} … {high:.3f}."
            )
    return said


def of_victims(trained: np.ndarray, unseen: np.ndarray) -> list[str]:
    """Of accuracies (V,) on the images that trained each victim and on others: whether training left any trace."""
    value, low, _ = share(trained[:, None])
    if low > unseen.mean():
        return []
    right, of_others = 100 * value, 100 * unseen.mean()
    return [
        f"The victims are right on {right:.1f} % of the images that trained them, and on {of_others:.1f} % of others: "
        "they learnt nothing by heart, or, if they were imported, these are not their features or not their images."
    ]
