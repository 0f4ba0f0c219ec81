"""Do 95 % intervals cover the truth 95 times in a hundred? Tables of known Gaussians in φ, drawn again and again.

    python -m benchmarks.coverage [--draws 1000] [--bootstraps 400] [--victims 892]

H0 ~ N(-1.5, 1) and H1 ~ N(0, 1.25²) in φ = logit(MSE/4), ten rows a victim, independent and with a correlation of 0.5
within a victim; then ten victims about each of as many persons, one row each, correlated at 0.3 and 0.5. Truths: AUC
Φ(d/√(σ0²+σ1²)); TPR at FPR f, empirical and analytic, by the closed form; Neyman-Pearson's by its two roots; shares at
a threshold by Φ. `bias` is the mean error over all draws.

Measured, 1,000 draws of 892 × 10 with 400 bootstraps: every interval covered in 94.1 … 96.4 % of the draws with
independent rows, and in 93.4 … 95.0 % with a correlation of 0.5. Of 300 persons with ten victims each, with 200
bootstraps: 93.7 … 95.6 % at 0.3, 93.3 … 95.4 % at 0.5.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from pipeline.evaluation.rates import METHODS, rates
from pipeline.evaluation.settings import Evaluation

MEANS, DEVIATIONS = (-1.5, 0.0), (1.0, 1.25)
THRESHOLD = -1.0
FPRS = np.array(Evaluation().false_positive_rates)


def truths() -> dict[str, np.ndarray]:
    (mean, null_mean), (sigma, null_sigma) = MEANS, DEVIATIONS
    z = (null_mean - mean + null_sigma * ndtri(FPRS)) / sigma
    # equal evidence at equal distance from the centre of log N(φ; H0) - log N(φ; H1), a parabola
    curvature = 1 / sigma**2 - 1 / null_sigma**2
    centre = (mean / sigma**2 - null_mean / null_sigma**2) / curvature

    def within(radius: float, mu: float, deviation: float) -> float:
        return ndtr((centre + radius - mu) / deviation) - ndtr((centre - radius - mu) / deviation)

    radii = [brentq(lambda r, f=f: within(r, null_mean, null_sigma) - f, 0, 50) for f in FPRS]
    return {
        "auc": np.array([ndtr((null_mean - mean) / np.hypot(sigma, null_sigma))]),
        "threshold_tpr": ndtr([(THRESHOLD - mean) / sigma]),
        "threshold_fpr": ndtr([(THRESHOLD - null_mean) / null_sigma]),
        "empirical": ndtr(z),
        "neyman_pearson": np.array([within(radius, mean, sigma) for radius in radii]),
        "analytic": ndtr(z),
    }


def table(rng: np.random.Generator, victims: int, rows: int, mean: float, deviation: float, correlation: float):
    """min-MSE (V, R) whose φ is N(mean, deviation²), with `correlation` between the rows of a victim."""
    shared, own = rng.normal(size=(victims, 1)), rng.normal(size=(victims, rows))
    return 4 * expit(mean + deviation * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own))


def coverage(
    victims: int, rows: int, correlation: float, draws: int, bootstraps: int, seed: int = 0, *, persons: bool = False
):
    """For each quantity: the share of draws (F,) whose interval covers the truth, and the mean error (F,).

    `persons`: the `rows` that share something are not one victim's, but those of as many victims about one person.
    """
    units = np.repeat(np.arange(victims), rows) if persons else None
    rng, truth = np.random.default_rng(seed), truths()
    covered = {name: np.zeros(len(value)) for name, value in truth.items()}
    errors = {name: np.zeros(len(value)) for name, value in truth.items()}
    for _ in range(draws):
        h0, h1 = (
            table(rng, victims, rows, mean, deviation, correlation)
            for mean, deviation in zip(MEANS, DEVIATIONS, strict=True)
        )
        if persons:
            h0, h1 = h0.reshape(-1, 1), h1.reshape(-1, 1)
        found = rates(h0, h1, 4 * expit(THRESHOLD), FPRS, bootstraps, rng, units)
        estimates = dict(zip(METHODS, found.tpr, strict=True))
        estimates |= {name: getattr(found, name)[None] for name in ("auc", "threshold_tpr", "threshold_fpr")}
        for name, estimate in estimates.items():
            covered[name] += (estimate[:, 1] <= truth[name]) & (truth[name] <= estimate[:, 2])
            errors[name] += estimate[:, 0] - truth[name]
    return {name: (covered[name] / draws, errors[name] / draws) for name in truth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--bootstraps", type=int, default=400)
    parser.add_argument("--victims", type=int, default=892)
    arguments = parser.parse_args()
    low, high = binom.ppf((0.025, 0.975), arguments.draws, 0.95) / arguments.draws
    shown = Table(
        "", "FPR", "truth", title=f"{arguments.draws} draws of {arguments.victims} × 10; {low:.1%}…{high:.1%}"
    )
    cases = ((0.0, False), (0.5, False), (0.3, True), (0.5, True))
    found = []
    for correlation, persons in cases:
        shown.add_column(f"{'persons' if persons else 'victims'}, ρ={correlation}", justify="right")
        shown.add_column("bias", justify="right")
        terms = arguments.victims, 10, correlation, arguments.draws, arguments.bootstraps
        found.append(coverage(*terms, persons=persons))
    for name, truth in truths().items():
        for place, value in enumerate(truth):
            cells = [
                cell for result in found for cell in (f"{result[name][0][place]:.1%}", f"{result[name][1][place]:+.4f}")
            ]
            shown.add_row(name, f"{FPRS[place]:.1%}" if len(truth) > 1 else "", f"{value:.4f}", *cells)
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
