"""How alike two images are: mean squared error, peak signal-to-noise ratio, structural similarity."""

import math

import torch
from torch import Tensor
from torch.nn import functional

SIGMA = 1.5
C1 = 1e-4
C2 = 9e-4


def mean_squared_error(images: Tensor, others: Tensor) -> Tensor:
    """(…) over pixels and channels of two stacks (…, C, H, W)."""
    return (images - others).square().flatten(-3).mean(-1)


def psnr(images: Tensor, others: Tensor, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio in dB, (…); `data_range` is the distance from black to white (1 for pixels in [0, 1]).

    Figures published for gradient inversion often take 255 on [0, 1] images, and lie 48.1 dB higher.
    """
    return 10 * torch.log10(data_range**2 / mean_squared_error(images, others))


def gaussian_window() -> tuple[float, float]:
    """Outer and middle weight of the normal window of 3, of deviation SIGMA, in each direction."""
    outer = math.exp(-1 / (2 * SIGMA**2))
    return outer / (1 + 2 * outer), 1 / (1 + 2 * outer)


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity (…) of two stacks (…, C, H, W) in [0, 1]: the mean of the map over everything.

    Wang et al. 2004 with a Gaussian window of 3, σ = 1.5, C1 = 1e-4, C2 = 9e-4, and borders reflected so that the map
    has the image's size, as kornia does.
    """
    outer, middle = gaussian_window()

    def blur(values: Tensor) -> Tensor:
        padded = functional.pad(values.flatten(0, -3), [1] * 4, mode="reflect")
        rows = middle * padded[:, 1:-1] + outer * (padded[:, :-2] + padded[:, 2:])
        return (middle * rows[..., 1:-1] + outer * (rows[..., :-2] + rows[..., 2:])).view(values.shape)

    mean, other_mean = blur(images), blur(others)
    variance = blur(images.square()) - mean.square()
    other_variance = blur(others.square()) - other_mean.square()
    covariance = blur(images * others) - mean * other_mean
    similarity = (2 * mean * other_mean + C1) * (2 * covariance + C2)
    similarity = similarity / ((mean.square() + other_mean.square() + C1) * (variance + other_variance + C2))
    return similarity.flatten(-3).mean(-1)
