"""What DP-SGD costs in privacy, and the noise that a given cost allows; Opacus' accountants do the counting."""

import warnings
from dataclasses import dataclass
from functools import lru_cache

from opacus.accountants import create_accountant
from opacus.accountants.utils import get_noise_multiplier

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
    """The whole account of a training on `samples` images. Raises UserError when no noise reaches the target ε."""
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
    """ε of `steps` Poisson-sampled Gaussian steps. accountant: prv (tight), rdp or gdp (asymptotic)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counter = create_accountant(accountant)
    counter.history = [(noise_multiplier, sample_rate, steps)]
    return float(counter.get_epsilon(delta=delta))


def noise_multiplier(
    target_epsilon: float, *, sample_rate: float, steps: int, delta: float, accountant: str = "prv"
) -> float:
    """The least σ, to within 0.5 % in ε, that spends at most `target_epsilon`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return get_noise_multiplier(
                target_epsilon=target_epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant=accountant,
                epsilon_tolerance=0.005 * target_epsilon,
            )
        except ValueError:
            raise UserError(f"no noise brings ε down to private.target_epsilon {target_epsilon:g}") from None
