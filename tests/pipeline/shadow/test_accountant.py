"""The published privacy budgets (arXiv 2505.14323), and the way back from a budget to its noise."""

import math

import pytest
from scipy.stats import norm

from pipeline.errors import UserError
from pipeline.shadow.accountant import epsilon, guarantee, noise_multiplier
from pipeline.shadow.settings import Privacy

PUBLISHED = {  # (images, steps): {σ: ε}
    (10, 64): {1.82: 5, 1.23: 10, 0.85: 20, 0.60: 40, 0.435: 80},
    (40, 100): {5.21: 2, 2.75: 5, 1.75: 10, 1.15: 20, 0.79: 40},
    (10, 96): {1.48: 10, 1.02: 20, 0.714: 40, 0.514: 80, 0.374: 160},
    (40, 156): {2.15: 10, 1.41: 20, 0.953: 40, 0.666: 80, 0.477: 160},
}


@pytest.mark.parametrize(
    ("samples", "steps", "sigma", "published"),
    [(*setting, sigma, value) for setting, pairs in PUBLISHED.items() for sigma, value in pairs.items()],
)
def test_published_epsilons(samples, steps, sigma, published):
    spent = guarantee(Privacy(clip_norm=1.0, sample_rate=0.5, steps=steps, noise_multiplier=sigma), samples)
    assert spent.epsilon == pytest.approx(published, rel=0.015)
    assert spent.delta == pytest.approx(samples**-1.1)


@pytest.mark.parametrize("target", [2, 40])
def test_a_target_epsilon_finds_its_noise(target):
    private = Privacy(clip_norm=1.0, sample_rate=0.5, steps=64, target_epsilon=float(target))
    spent = guarantee(private, 10)
    assert 0.99 * target <= spent.epsilon <= target


def test_rdp_bounds_prv_from_above_and_gdp_is_near_it():
    how = {"sample_rate": 0.5, "steps": 64, "delta": 10**-1.1}
    prv = epsilon(1.82, **how)
    assert epsilon(1.82, **how, accountant="rdp") > prv
    assert epsilon(1.82, **how, accountant="gdp") == pytest.approx(prv, rel=0.25)


def test_an_unsampled_single_step_is_the_gaussian_mechanism():
    """q = 1, T = 1: δ(ε) = Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ) (Balle and Wang 2018)."""
    sigma = 2.0
    spent = epsilon(sigma, sample_rate=1.0, steps=1, delta=1e-3)
    delta = norm.cdf(0.5 / sigma - spent * sigma) - math.exp(spent) * norm.cdf(-0.5 / sigma - spent * sigma)
    assert delta == pytest.approx(1e-3, rel=0.1)


def test_targets_out_of_reach_are_refused():
    how = {"sample_rate": 0.5, "steps": 100, "delta": 1e-9, "accountant": "rdp"}
    with pytest.raises(UserError, match="up to 128 brings ε down to target_epsilon 1e-06"):
        noise_multiplier(1e-6, **how)
    with pytest.raises(UserError, match="less noise than noise_multiplier 1/16"):
        noise_multiplier(1e6, **how)


def test_an_accountant_that_gives_out_says_so():
    with pytest.raises(UserError, match=r"gdp accountant finds no ε for noise_multiplier 0.1.*prv, rdp, gdp"):
        epsilon(0.1, sample_rate=0.5, steps=100, delta=0.1, accountant="gdp")
