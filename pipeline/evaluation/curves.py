"""The published curves (arXiv 2505.14323), each on a whole table at once: empirical, Neyman-Pearson, analytic.

Scores are distances, so low is a hit: TPR(τ) = P(H0 ≤ τ), FPR(τ) = P(H1 ≤ τ). φ = logit(MSE/4) is nearly Gaussian.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logit, ndtr, ndtri

LARGEST_MSE = 4.0
"""Between images in [-1, 1]."""
CLOSEST = 1e-12
"""Of that: an exact reconstruction's φ is finite, -27.6."""


def phi(mse: np.ndarray) -> np.ndarray:
    """logit(MSE/4) of distances between images in [-1, 1]."""
    return logit(np.clip(mse / LARGEST_MSE, CLOSEST, 1 - CLOSEST))


@dataclass(frozen=True)
class Gaussian:
    """A fit to scores: mean and standard deviation (of the population: divided by the count)."""

    mean: float
    deviation: float

    @classmethod
    def fit(cls, values: np.ndarray) -> "Gaussian":
        return cls(float(values.mean()), float(values.std()))

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Up to the constant that all Gaussians share."""
        return -0.5 * ((values - self.mean) / self.deviation) ** 2 - np.log(self.deviation)


def evidence(values: np.ndarray, h0: Gaussian, h1: Gaussian) -> np.ndarray:
    """Log-likelihood ratio of H1 to H0: low is a hit, and by Neyman and Pearson no other order of φ hits more."""
    return h1.log_density(values) - h0.log_density(values)


def auc(h0: np.ndarray, h1: np.ndarray) -> float:
    """P(H0 < H1) + ½ P(H0 = H1)."""
    null = np.sort(h1, axis=None)
    below, upto = (np.searchsorted(null, h0.ravel(), side) for side in ("left", "right"))
    return float(1 - (below + upto).mean() / (2 * null.size))


def empirical_tpr(h0: np.ndarray, h1: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """TPR at the highest threshold at which no more than `fpr` (F,) of H1 is hit."""
    null = np.append(np.sort(h1, axis=None), np.inf)
    thresholds = null[np.floor(np.asarray(fpr) * h1.size + 1e-9).astype(int)]
    return np.searchsorted(np.sort(h0, axis=None), thresholds, "left") / h0.size


def neyman_pearson_tpr(h0: np.ndarray, h1: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """TPR (F,) by the likelihood ratio of Gaussian fits to φ, the empirical way."""
    values, null = phi(h0), phi(h1)
    fits = Gaussian.fit(values), Gaussian.fit(null)
    return empirical_tpr(evidence(values, *fits), evidence(null, *fits), fpr)


def analytic_tpr(h0: Gaussian, h1: Gaussian, fpr: np.ndarray) -> np.ndarray:
    """½(1 − erf((μ0−μ1)/(√2 σ0) + σ1 erfinv(1−2f)/σ0)) at f = `fpr` (F,): both scores Gaussian, low is a hit."""
    return ndtr((h1.mean - h0.mean + h1.deviation * ndtri(fpr)) / h0.deviation)


@dataclass(frozen=True)
class Published:
    """What the paper prints: rates of all scores at the threshold, curves (F,) of the last class, each on all of it."""

    tpr_at_threshold: float
    fpr_at_threshold: float
    empirical: np.ndarray
    neyman_pearson: np.ndarray
    analytic: np.ndarray


def published(h0: np.ndarray, h1: np.ndarray, threshold: float, fpr: np.ndarray) -> Published:
    """Of min-MSE tables (V0, G) and (V1, G); curves that need Gaussian fits are NaN where scores do not vary."""
    last, null = h0[:, -1], h1[:, -1]
    fits = Gaussian.fit(phi(last)), Gaussian.fit(phi(null))
    vary = all(fit.deviation for fit in fits)
    return Published(
        float((h0 <= threshold).mean()),
        float((h1 <= threshold).mean()),
        empirical_tpr(last, null, fpr),
        neyman_pearson_tpr(last, null, fpr) if vary else np.full(len(fpr), np.nan),
        analytic_tpr(*fits, fpr) if vary else np.full(len(fpr), np.nan),
    )
