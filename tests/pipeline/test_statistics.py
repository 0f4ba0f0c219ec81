"""Merged over shards, statistics equal NumPy's on all weights at once."""

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.statistics import (
    Moments,
    Standardisation,
    correlation,
    h1_from_correlation,
    h1_from_weights,
    moments_of,
)


def shards(models: int = 50 * 40, width: int = 90, count: int = 50, dtype=np.float32):
    """Correlated weights of unequal means and scales; 7 never varies, 11 and 12 sit on an offset of 1e4."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(models, width)) @ (np.eye(width) + 0.2 * rng.normal(size=(width, width)))
    weights = weights * 10.0 ** rng.integers(-4, 2, width) + rng.normal(size=width)
    weights[:, 7] = 0.0021
    weights[:, 11] += 1e4
    weights[:, 12] = 1e4
    cuts = np.sort(rng.choice(np.arange(1, models), count - 1, replace=False))
    return np.split(weights.astype(dtype), cuts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fifty_shards_equal_numpy_on_all_weights(dtype):
    blocks = shards(dtype=dtype)
    together = np.concatenate(blocks).astype(np.float64)
    moments = moments_of(blocks)
    assert moments.count == 2000
    np.testing.assert_allclose(moments.mean, together.mean(0), rtol=1e-12)
    varying = np.delete(np.arange(90), [7, 12])
    np.testing.assert_allclose(moments.deviation[varying], together.std(0)[varying], rtol=1e-10)

    standardisation = Standardisation.of(moments)
    assert standardisation.dropped == 2
    assert standardisation.kept.nonzero().flatten().tolist() == varying.tolist()
    expected = np.corrcoef(together[:, varying], rowvar=False)
    found = correlation(blocks, standardisation).numpy()
    assert np.abs(found - expected).max() <= 1e-6
    deviations = standardisation.deviation.numpy()
    covariance = np.cov(together[:, varying], rowvar=False, ddof=0)
    assert np.abs(found * deviations * deviations[:, None] - covariance).max() <= 1e-6 * np.abs(covariance).max()


def test_a_constant_is_constant_however_shards_are_cut():
    moments = moments_of([np.full((n, 3), np.float32(0.1) + 1e4, np.float32) for n in (1, 3, 7, 1000)])
    assert (moments.squares == 0).all()


def test_the_order_of_merging_does_not_matter():
    parts = [Moments.from_weights(block) for block in shards()]
    forward, backward = moments_of(shards()), parts[-1]
    for part in reversed(parts[:-1]):
        backward = backward.merge(part)
    torch.testing.assert_close(forward.mean, backward.mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(forward.squares, backward.squares, rtol=1e-10, atol=1e-12)


def test_the_correlation_is_tiled_and_blocked_without_a_seam(monkeypatch):
    monkeypatch.setattr("pipeline.statistics.COLUMNS", 32)
    monkeypatch.setattr("pipeline.statistics.ROWS", 7)
    blocks = [block + 0.0 for block in shards()]
    standardisation = Standardisation.of(moments_of(blocks))
    expected = np.corrcoef(np.concatenate(blocks).astype(np.float64)[:, standardisation.kept], rowvar=False)
    found = correlation(blocks, standardisation).numpy()
    assert np.abs(found - expected).max() <= 1e-6
    assert (found == found.T).all()


@pytest.mark.parametrize("way", ["matrix", "matrix-free"])
def test_h1_has_the_law_of_the_standardised_weights(way):
    blocks = shards(width=30)
    standardisation = Standardisation.of(moments_of(blocks))
    matrix = correlation(blocks, standardisation)
    expected = matrix.clone()
    generator = torch.Generator().manual_seed(4)
    if way == "matrix":
        draws = h1_from_correlation(matrix, 20000, generator)
    else:
        draws = h1_from_weights(blocks, standardisation, 20000, generator)
    assert draws.shape == (20000, 28)
    assert draws.dtype == torch.float32
    assert draws.mean(0).abs().max() < 5 / 20000**0.5
    assert (torch.cov(draws.T, correction=0) - expected).abs().max() < 6 / 20000**0.5


def test_fewer_models_than_weights_still_factorise():
    blocks = [np.random.default_rng(1).normal(size=(20, 300)).astype(np.float32)]
    matrix = correlation(blocks, Standardisation.of(moments_of(blocks)))
    assert h1_from_correlation(matrix, 5, torch.Generator().manual_seed(0)).isfinite().all()


def test_weights_that_are_not_finite_or_never_vary_are_refused():
    weights = np.random.default_rng(1).normal(size=(20, 4))
    weights[3, 2] = np.nan
    with pytest.raises(UserError, match="weight 2 is not finite"):
        Standardisation.of(moments_of([weights]))
    with pytest.raises(UserError, match="no weight varies over 5"):
        Standardisation.of(moments_of([np.ones((5, 3))]))
