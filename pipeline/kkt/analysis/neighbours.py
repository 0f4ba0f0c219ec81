"""Which candidates each training image is nearest to (arXiv 2206.07758, appendix B): five metrics, bounded memory."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluation.image_metrics import ssim
from pipeline.kkt.analysis.settings import Metric, Vote

BLOCK_NUMBERS = 1 << 25
"""How many numbers the largest intermediate of a block may hold: 128 MiB in float32."""
VOTERS = 64
"""How many near-ties vote at most."""
BEST = 10
"""Of how many training images the mean distance stops a trial, as the published programs do."""


@dataclass(frozen=True)
class Neighbours:
    """The K nearest candidates of each of n images, nearest first: `indices` (n, K) int64, `distances` (n, K).

    Where fewer are eligible, distances are infinite.
    """

    indices: Tensor
    distances: Tensor


SCALES = {"ncc_half": 0.5, "ncc_quarter": 0.25}
"""Metrics that compare smaller images, as the published ncc2 and ncc4."""


def scaled(images: Tensor, factor: float) -> Tensor:
    """(n, C, H, W) → (n, C, factor·H, factor·W), bicubic without antialiasing, as published."""
    return functional.interpolate(images, scale_factor=factor, mode="bicubic", align_corners=False)


def normalised(images: Tensor) -> Tensor:
    """Every channel of every image to mean 0 and unbiased deviation 1; a constant channel becomes 0."""
    centred = images - images.mean((-2, -1), keepdim=True)
    deviation = centred.square().sum((-2, -1), keepdim=True).div(max(1, images[0, 0].numel() - 1)).sqrt()
    # what rounding leaves of a constant channel is no contrast
    contrast = deviation > 1e-6 * images.abs().amax((-2, -1), keepdim=True)
    return torch.where(contrast, centred / torch.where(contrast, deviation, 1), 0)


def features(images: Tensor, metric: Metric) -> Tensor:
    """(n, D): what every metric but ssim takes mean squared differences of."""
    if metric in SCALES:
        images = scaled(images, SCALES[metric])
    return (images if metric == "l2" else normalised(images)).flatten(1)


def _mean_squared_distances(images: Tensor, candidates: Tensor) -> Tensor:
    """(n, b) from (n, D) and (b, D)."""
    squares = images.square().sum(1)[:, None] + candidates.square().sum(1)
    return (squares - 2 * images @ candidates.T).clamp_(min=0) / images.shape[1]


def distances(images: Tensor, candidates: Tensor, metric: Metric) -> Tensor:
    """(n, b) between images (n, C, H, W) and candidates (b, C, H, W).

    ncc: mean squared difference of the normalised images, 2 (1 − 1/HW)(1 − correlation) for one channel; ncc_half
    and ncc_quarter: the same at a half or a quarter of the size; l2: mean squared difference; ssim: (1 − SSIM) / 2.
    """
    if metric == "ssim":
        block = max(1, BLOCK_NUMBERS // (8 * candidates.numel()))
        return torch.cat([(1 - ssim(part[:, None], candidates[None])) / 2 for part in images.split(block)])
    return _mean_squared_distances(features(images, metric), features(candidates, metric))


def nearest(
    images: Tensor, candidates: Tensor, metric: Metric, keep: int = 1, best_buddies: bool = False
) -> Neighbours:
    """The `keep` nearest of candidates (M, C, H, W) for each of images (n, C, H, W).

    With `best_buddies` a candidate stands for one image only, the one that it is nearest to itself.
    """
    count, device = len(images), images.device
    indices = torch.zeros((count, keep), dtype=torch.int64, device=device)
    found = torch.full((count, keep), torch.inf, dtype=images.dtype, device=device)
    per_candidate = images[0].numel() * (min(count, 8) * 8 if metric == "ssim" else 4) + count
    block = max(1, BLOCK_NUMBERS // per_candidate)
    for start in range(0, len(candidates), block):
        table = distances(images, candidates[start : start + block], metric)
        if best_buddies:
            own = torch.zeros_like(table, dtype=torch.bool).scatter_(0, table.argmin(0, keepdim=True), True)
            table = table.masked_fill(~own, torch.inf)
        near = table.topk(min(keep, table.shape[1]), largest=False)
        # stable, so that of equals the first stays the nearest
        found, order = torch.cat([found, near.values], 1).sort(dim=1, stable=True)
        indices = torch.cat([indices, near.indices + start], 1).gather(1, order)
        found, indices = found[:, :keep], indices[:, :keep]
    return Neighbours(indices, found)


def elect(candidates: Tensor, found: Neighbours, vote: Vote, near_tie: float) -> Tensor:
    """(n, C, H, W) from candidates (M, C, H, W): pixel by pixel over those within `near_tie` × the least distance."""
    if vote == "min":
        return candidates[found.indices[:, 0]]
    voters = found.distances <= near_tie * found.distances[:, :1]
    return torch.stack([_count(candidates[row[votes]], vote) for row, votes in zip(found.indices, voters, strict=True)])


def _count(votes: Tensor, vote: Vote) -> Tensor:
    if vote == "mean":
        return votes.mean(0)
    return votes.median(0).values if vote == "median" else votes.mode(0).values


def best_distances(candidates: Tensor, images: Tensor, metric: str) -> Tensor:
    """(S,) for candidates (S, m, C, H, W) and images (n, C, H, W), the mean taken off: see StopSettings.

    Of fewer than ten images that are nearest to a candidate, the mean is over those there are.
    """
    return torch.stack([_best_distance(own, images.to(own), metric) for own in candidates])


def _best_distance(candidates: Tensor, images: Tensor, metric: str) -> Tensor:
    least, nearest = (distances(candidates, images, metric) * images[0].numel()).min(1)
    of_images = least.new_full((len(images),), torch.inf).scatter_reduce(0, nearest, least, "amin")
    return of_images[of_images.isfinite()].sort().values[:BEST].mean()
