"""How much a rebuilt image is like its training image: from centred candidates to pixels, and the scores of a pair."""

import torch
from torch import Tensor

from pipeline.evaluation.image_metrics import mean_squared_error, psnr, ssim
from pipeline.kkt.analysis.neighbours import features
from pipeline.kkt.analysis.settings import Scaling

SSIM_SIDE = 2
"""Images of a shorter side than this have no structure that SSIM's window could see."""


def min_max_scaled(images: Tensor) -> Tensor:
    """Every image (…, C, H, W) to [0, 1] by its own least and greatest number, over all channels; a constant to 0."""
    low, high = images.amin((-3, -2, -1), keepdim=True), images.amax((-3, -2, -1), keepdim=True)
    return (images - low) / torch.where(high > low, high - low, 1)


def to_pixels(candidates: Tensor, mean: Tensor, scaling: Scaling) -> Tensor:
    """Candidates (…, C, H, W) around the training mean (C, H, W) as pixels: x + mean, scaled per image or clipped."""
    images = candidates + mean
    return min_max_scaled(images) if scaling == "min_max" else images.clamp(0, 1)


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Pearson's (…) over all pixels and channels of a pair (…, C, H, W); 0 where either is constant."""
    first, second = (stack.flatten(-3) - stack.flatten(-3).mean(-1, keepdim=True) for stack in (images, others))
    norms = first.norm(dim=-1) * second.norm(dim=-1)
    return torch.where(norms > 0, (first * second).sum(-1) / torch.where(norms > 0, norms, 1), 0)


def pair_scores(rebuilt: Tensor, originals: Tensor) -> dict[str, Tensor]:
    """ssim, correlation, ncc (as neighbours.distances), l2 (Euclidean distance), psnr (dB, range 1) and max_error of
    pairs (n, C, H, W), each (n,). Of ncc, l2 and max_error less is better.

    SSIM is NaN for images of a single row or column, correlation for those of a single number.
    """
    unknown = torch.full((len(rebuilt),), torch.nan, dtype=rebuilt.dtype, device=rebuilt.device)
    structured = min(rebuilt.shape[-2:]) >= SSIM_SIDE
    return {
        "ssim": ssim(rebuilt, originals) if structured else unknown,
        "correlation": correlation(rebuilt, originals) if rebuilt[0].numel() > 1 else unknown,
        "ncc": (features(rebuilt, "ncc") - features(originals, "ncc")).square().mean(1),
        "l2": (mean_squared_error(rebuilt, originals) * rebuilt[0].numel()).sqrt(),
        "psnr": psnr(rebuilt, originals),
        "max_error": (rebuilt - originals).abs().flatten(1).amax(1),
    }
