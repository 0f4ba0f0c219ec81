"""f against closed forms, and against the values of another accountant."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.privacy.robustness import reconstruction_ceiling
from pipeline.privacy.trade_off import trade_off

FPR = np.array([1e-4, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9])


@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (3.0, 16)])
def test_unsampled_steps_are_one_gaussian_mechanism(sigma, steps):
    """1 − f(α) = Φ(√T/σ − Φ⁻¹(1 − α)) (Dong, Roth and Su 2019)."""
    expected = norm.cdf(np.sqrt(steps) / sigma - norm.isf(FPR))
    assert trade_off(sigma, 1.0, steps).largest_tpr(FPR) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_one_sampled_step_is_a_test_of_a_mixture(rate):
    """N(0, σ²) against (1 − q) N(0, σ²) + q N(1, σ²): the best test is by the observation itself."""
    sigma = 0.8
    cut = sigma * norm.isf(FPR)
    expected = (1 - rate) * FPR + rate * norm.sf((cut - 1) / sigma)
    assert trade_off(sigma, rate, 1).largest_tpr(FPR) == pytest.approx(expected, abs=2e-4)


def test_published_settings_against_dp_accounting():
    """Of its 0.6.0, discretised at 1e-3, add and remove apart: the pair (with the record, without it)."""
    found = trade_off(1.82, 0.5, 64).largest_tpr(FPR)
    assert found == pytest.approx([0.0763, 0.20506, 0.46546, 0.71591, 0.82152, 0.95068, 0.98451, 0.99965], abs=1e-4)
    found = trade_off(1.23, 0.5, 64).largest_tpr(FPR)
    assert found == pytest.approx([0.37307, 0.60259, 0.83371, 0.94533, 0.97369, 0.99586, 0.99911, 0.99999], abs=1e-4)


def test_the_curve_is_a_curve_of_best_tests():
    """Concave, from (0, 0) to (1, 1), above chance; less noise never lowers it."""
    curve = trade_off(1.23, 0.5, 64)
    grid = curve.largest_tpr(np.linspace(0, 1, 500))
    assert (grid[0], grid[-1]) == (0.0, 1.0)
    assert (np.diff(grid, 2) <= 1e-6).all()
    assert (grid >= np.linspace(0, 1, 500) - 1e-6).all()
    assert (trade_off(0.85, 0.5, 64).largest_tpr(FPR) >= curve.largest_tpr(FPR)).all()


def test_hardly_any_noise_bounds_nothing():
    assert trade_off(1 / 16, 0.5, 64).largest_tpr(FPR) == pytest.approx(1, abs=1e-6)


def test_the_ceiling_of_reconstruction_is_attained_by_telling_two_records_apart():
    """Two records, equally likely, one Gaussian step along the one or not at all: κ = ½, and guessing by the likelihood
    succeeds less often than 1 − f(½), which only an adversary of one record alone attains."""
    sigma = 1.5
    ceiling = reconstruction_ceiling(trade_off(sigma, 1.0, 1), 0.5)
    assert norm.cdf(0.5 / sigma) < ceiling == pytest.approx(norm.cdf(1 / sigma), abs=2e-4)
