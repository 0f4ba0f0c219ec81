"""How alike two images are: mean squared error, peak signal-to-noise ratio, structural similarity, LPIPS."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.networks.lpips import perceptual_network
from pipeline.perceptual import LpipsSettings, weights_file

Metric = Callable[[Tensor, Tensor], Tensor]
"""Of two stacks (B, C, H, W): one number (B,) a pair."""

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


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity (…) of stacks (…, C, H, W) in [0, 1] that broadcast: the mean of the map over everything.

    Wang et al. 2004 with a Gaussian window of 3, σ = 1.5, C1 = 1e-4, C2 = 9e-4, and borders reflected so that the map
    has the image's size, as kornia does.
    """
    outer = math.exp(-0.5 / SIGMA**2)
    share = 2 * outer / (1 + 2 * outer)

    def blur(values: Tensor) -> Tensor:
        padded = functional.pad(values.flatten(0, -3), (1, 1, 1, 1), mode="reflect")
        rows = torch.lerp(padded[:, 1:-1], 0.5 * (padded[:, :-2] + padded[:, 2:]), share)
        return torch.lerp(rows[..., 1:-1], 0.5 * (rows[..., :-2] + rows[..., 2:]), share).view(values.shape)

    mean, other_mean = blur(images), blur(others)
    means, both = mean * other_mean, mean.square() + other_mean.square()
    squares = blur(images.square()) + blur(others.square())
    similarity = (2 * means + C1) * (2 * (blur(images * others) - means) + C2)
    similarity = similarity / ((both + C1) * (squares - both + C2))
    return similarity.flatten(-3).mean(-1)


def psnr_in_unit_range(images: Tensor, others: Tensor) -> Tensor:
    """PSNR of images in [-1, 1], whose range is 2: the same as that of [0, 1] images with range 1."""
    return psnr(images, others, data_range=2.0)


def ssim_in_unit_range(images: Tensor, others: Tensor) -> Tensor:
    """SSIM of images in [-1, 1], taken to [0, 1]."""
    return ssim((images + 1) / 2, (others + 1) / 2)


LPIPS_WEIGHTS = {"alex": "alexnet-*.pth", "vgg": "vgg16-*.pth"}
LEAST_SIDE = {"alex": 32, "vgg": 16}


def lpips(settings: LpipsSettings, side: int, device: torch.device) -> tuple[Metric | None, str]:
    """LPIPS (Zhang et al. 2018) of images in [-1, 1] with `side` pixels a side, as `evaluation:` says: 0 means alike.

    Where it cannot be had, None and the reason. Nothing is fetched: ImageNet weights come from a file, or count when
    torchvision has put them into its cache before. Raises UserError for a file that is not theirs.
    """
    name, weights = settings.lpips, weights_file(settings, "evaluation")
    if name == "none":
        return None, "LPIPS was not asked for"
    if side < LEAST_SIDE[name]:
        return None, f"LPIPS on {name} needs images of {LEAST_SIDE[name]} pixels a side or more"
    if not weights and not any((Path(torch.hub.get_dir()) / "checkpoints").glob(LPIPS_WEIGHTS[name])):
        return None, f"LPIPS is not scored: torchvision's {LPIPS_WEIGHTS[name]} is not in its cache"
    network = perceptual_network(name, device, weights, "evaluation")
    return lambda images, others: network(images, others).flatten(), f"LPIPS on {name}, 0 means alike"
