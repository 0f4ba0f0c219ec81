"""How near a trial's candidates are to the training images, by which the published programs stop it."""

import torch
from torch import Tensor

from pipeline.kkt.analysis.neighbours import distances

BEST = 10


def best_distances(candidates: Tensor, images: Tensor, metric: str) -> Tensor:
    """(S,) for candidates (S, m, C, H, W) and images (n, C, H, W), the mean taken off: see StopSettings.

    Of fewer than ten images that are nearest to a candidate, the mean is over those there are.
    """
    return torch.stack([_best_distance(own, images.to(own), metric) for own in candidates])


def _best_distance(candidates: Tensor, images: Tensor, metric: str) -> Tensor:
    least, nearest = (distances(candidates, images, metric) * images[0].numel()).min(1)
    of_images = least.new_full((len(images),), torch.inf).scatter_reduce(0, nearest, least, "amin")
    return of_images[of_images.isfinite()].sort().values[:BEST].mean()
