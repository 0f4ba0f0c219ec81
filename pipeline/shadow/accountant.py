"""What DP-SGD costs in privacy, and the noise that a given cost allows; Opacus' accountants do the counting."""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

from opacus.accountants import create_accountant
from scipy.optimize import brentq

from pipeline.errors import UserError
from pipeline.shadow.settings import Privacy


@dataclass(frozen=True)
class Guarantee:
    """Training was (ε, δ)-differentially private, and by these means."""

    noise_multiplier: float
    clip_norm: float
    sample_rate: float
    steps: int
    delta: float
    epsilon: float


@lru_cache
def guarantee(private: Privacy, samples: int) -> Guarantee:
    """The whole account of a training on `samples` images. Raises UserError as `epsilon` and `noise_multiplier` do."""
    delta, sigma = private.delta or default_delta(samples), stated_noise(private, samples)
    spent = epsilon(sigma, delta=delta, **_sampling(private))
    return Guarantee(sigma, private.clip_norm, private.sample_rate, private.steps, delta, spent)


@lru_cache
def stated_noise(private: Privacy, samples: int) -> float:
    """σ as the experiment gives it, or as its target ε asks for it."""
    if private.noise_multiplier is not None:
        return private.noise_multiplier
    delta = private.delta or default_delta(samples)
    return noise_multiplier(private.target_epsilon, delta=delta, **_sampling(private))


def _sampling(private: Privacy) -> dict:
    return private.model_dump(include={"sample_rate", "steps", "accountant"})


def default_delta(samples: int) -> float:
    """N^-1.1, as published (arXiv 2505.14323)."""
    return samples**-1.1


def epsilon(noise_multiplier: float, *, sample_rate: float, steps: int, delta: float, accountant: str = "prv") -> float:
    """ε of `steps` Poisson-sampled Gaussian steps. accountant: prv (tight), rdp (a bound) or gdp (asymptotic).

    Raises UserError where the accountant's numerics give out, at very little noise.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counter = create_accountant(accountant)
            counter.history = [(noise_multiplier, sample_rate, steps)]
            spent = float(counter.get_epsilon(delta=delta))
    except ValueError:
        spent = math.nan
    if not math.isfinite(spent):
        raise UserError(
            f"the {accountant} accountant finds no ε for noise_multiplier {noise_multiplier:g}, sample_rate "
            f"{sample_rate:g}, steps {steps}: use more noise or another private.accountant (prv, rdp, gdp)"
        )
    return max(spent, 0.0)


def noise_multiplier(
    target_epsilon: float, *, sample_rate: float, steps: int, delta: float, accountant: str = "prv"
) -> float:
    """The σ that spends `target_epsilon` or up to 1 % less. Raises UserError where no σ in 1/16 … 128 does."""
    goal = 0.996 * target_epsilon

    @lru_cache
    def excess(log_sigma: float) -> float:
        how = {"sample_rate": sample_rate, "steps": steps, "delta": delta, "accountant": accountant}
        return math.log(max(epsilon(math.exp(log_sigma), **how), 1e-12) / goal)

    low = high = 0.0
    while excess(high) > 0:
        low, high = high, high + math.log(2)
        if high > math.log(128):
            raise UserError(f"no noise_multiplier up to 128 brings ε down to target_epsilon {target_epsilon:g}")
    while excess(low) < 0:
        low, high = low - math.log(2), low
        if low < math.log(1 / 16):
            raise UserError(f"target_epsilon {target_epsilon:g} asks for less noise than noise_multiplier 1/16")
    return math.exp(brentq(excess, low, high, xtol=1e-3, rtol=1e-3))
