"""Image metrics against closed forms and a plain loop."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.image_metrics import mean_squared_error, psnr, ssim


def test_mse_and_psnr_of_a_constant_difference():
    """A difference of 0.1 everywhere: MSE 0.01, 20 dB with range 1, and 48.13 dB more with range 255."""
    images = torch.rand(2, 4, 3, 5, 6, dtype=torch.float64)
    assert torch.allclose(mean_squared_error(images, images + 0.1), torch.full((2, 4), 0.01, dtype=torch.float64))
    assert torch.allclose(psnr(images, images + 0.1), torch.full((2, 4), 20.0, dtype=torch.float64))
    assert float((psnr(images, images + 0.1, 255) - 20).mean()) == pytest.approx(48.13, abs=0.01)


def test_ssim_is_the_mean_over_reflected_windows():
    """Pixel by pixel, with weighted moments of each 3×3 window, in numpy."""
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 1, 5, 7))
    one = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 1.5**2))
    window = np.outer(one, one) / one.sum() ** 2
    pad_x, pad_y = (np.pad(image[0], 1, mode="reflect") for image in (x, y))
    values = []
    for i in range(5):
        for j in range(7):
            a, b = pad_x[i : i + 3, j : j + 3], pad_y[i : i + 3, j : j + 3]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    assert float(ssim(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(np.mean(values), abs=1e-12)
    assert float(ssim(torch.from_numpy(x), torch.from_numpy(x))) == 1
