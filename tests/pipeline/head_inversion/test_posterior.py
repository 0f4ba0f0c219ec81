"""The posterior is that of a Gaussian conditioned on a linear observation, written out densely here."""

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.head_inversion.posterior import posterior
from pipeline.head_inversion.prior import Prior


def problem(rows: int, images: int, directions: int = 4, heads: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    spectrum = torch.rand(directions, generator=generator, dtype=torch.float64) + 0.1
    noise = torch.rand(heads, generator=generator, dtype=torch.float64) + 0.05
    return draw(heads, rows, directions), draw(heads, rows, images), draw(images, directions), spectrum, noise


def dense(v, coefficients, mean, prior_variance, noise):
    """Mean and covariance of φ ~ N(mean, prior_variance·I) given v = Cφ + e, by the joint Gaussian's blocks."""
    images = coefficients.shape[1]
    covariance = prior_variance * np.eye(images)
    cross = covariance @ coefficients.T
    gain = cross @ np.linalg.inv(coefficients @ cross + noise * np.eye(len(coefficients)))
    return mean + gain @ (v - coefficients @ mean), covariance - gain @ cross.T


@pytest.mark.parametrize(("rows", "images"), [(10, 10), (10, 40), (10, 4), (8, 10), (1, 3)])
def test_mean_and_variance_are_the_conditioned_gaussians(rows, images):
    v, coefficients, means, spectrum, noise = problem(rows, images)
    mean, variance = posterior(v, coefficients, means, spectrum, noise)
    for head in range(len(v)):
        for j in range(len(spectrum)):
            terms = (v[head, :, j], coefficients[head], means[:, j], spectrum[j], noise[head])
            expected, covariance = dense(*(part.numpy() for part in terms))
            np.testing.assert_allclose(mean[head, :, j], expected, atol=1e-9)
            np.testing.assert_allclose(variance[head, :, j], np.diag(covariance), atol=1e-9)


def test_gradients_are_those_of_the_written_out_solve_also_with_equal_rows():
    v, coefficients, means, spectrum, noise = problem(4, 5)
    coefficients[:, 2] = coefficients[:, 1]  # equal eigenvalues come of dead rows, too
    coefficients[:, 3] = 0

    def plainly(coefficients, noise):
        square = coefficients @ coefficients.mT
        parts = []
        for j, variance in enumerate(spectrum):
            shifted = square + (noise / variance)[:, None, None] * torch.eye(4, dtype=torch.float64)
            solved = torch.linalg.solve(shifted, (v[..., j] - coefficients @ means[:, j])[..., None])
            parts.append(means[:, j] + (coefficients.mT @ solved)[..., 0])
        return torch.stack(parts, 2)

    weight = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = []
    for compute in (lambda c, n: posterior(v, c, means, spectrum, n)[0], plainly):
        leaves = [coefficients.clone().requires_grad_(), noise.clone().requires_grad_()]
        (compute(*leaves) * weight).sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for own, expected in zip(*gradients, strict=True):
        assert own.isfinite().all()
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


def test_a_head_that_says_nothing_leaves_the_prior():
    """An untrained head: C = 0. The posterior is the prior, and its variance says so."""
    v, coefficients, means, spectrum, noise = problem(10, 10)
    mean, variance = posterior(v, torch.zeros_like(coefficients), means, spectrum, noise)
    torch.testing.assert_close(mean, means.expand_as(mean))
    torch.testing.assert_close(variance, spectrum.expand_as(variance))


def test_two_equal_images_share_what_is_known():
    """Their columns of C are equal: each gets their mean, and no more certainty than that gives."""
    v, coefficients, means, spectrum, noise = problem(10, 4)
    coefficients[:, :, 1], means[1] = coefficients[:, :, 0], means[0]
    mean, variance = posterior(v, coefficients, means, spectrum, noise)
    torch.testing.assert_close(mean[:, 0], mean[:, 1])
    assert (variance[:, 0] > 0.5 * spectrum * 0.999).all()


def test_a_prior_is_made_of_class_means_and_the_variance_within():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([3.0, 2.0, 1.0, 0.01])
    classes = torch.arange(3000) % 3
    features = torch.randn(3000, 4, generator=generator) * scale + 10.0 * classes[:, None]
    prior = Prior.of(features, classes, 0.999)
    assert len(prior.spectrum) == 3 and prior.share > 0.999
    torch.testing.assert_close(prior.spectrum.sqrt(), scale[:3], rtol=0.06, atol=0)
    means = torch.stack([features[classes == k].mean(0) for k in range(3)])
    torch.testing.assert_close(prior.means, means @ prior.directions, rtol=1e-4, atol=1e-3)


def test_a_prior_without_images_or_without_variance_is_refused():
    with pytest.raises(UserError, match="class 1 has no image"):
        Prior.of(torch.randn(4, 3), torch.tensor([0, 0, 2, 2]), 0.9)
    with pytest.raises(UserError, match="do not vary within their classes"):
        Prior.of(torch.ones(6, 3), torch.tensor([0, 0, 0, 1, 1, 1]), 0.9)
