"""The nearest-neighbour threshold (arXiv 2505.14323): mean MSE of an image to the nearest other of its class."""

from collections.abc import Callable

import numpy as np
import torch

from pipeline.data.images import to_unit
from pipeline.errors import UserError
from pipeline.unattended import silent

BLOCK = 512


def nearest_same_class(
    test: torch.Tensor,
    test_labels: np.ndarray,
    train: torch.Tensor,
    train_labels: np.ndarray,
    progress: Callable[[int, int, str], None] = silent,
) -> np.ndarray:
    """(n,) MSE in [-1, 1] from each of `test` (n, C, S, S) uint8 to the nearest of `train` with the same label.

    The neighbour is found with a matrix product, its distance then measured directly, so nothing cancels.
    Raises UserError for a class that has no training image.
    """
    distances = np.empty(len(test))
    classes = np.unique(test_labels)
    for position, label in enumerate(classes):
        rows, relatives = np.flatnonzero(test_labels == label), np.flatnonzero(train_labels == label)
        if not len(relatives):
            raise UserError(f"class {label} has {len(rows)} test images and no training image; it has no neighbour")
        pool = to_unit(train[relatives]).flatten(1)
        half_norms = 0.5 * pool.square().sum(1)
        for block in np.array_split(rows, -(-len(rows) // BLOCK)):
            images = to_unit(test[block]).flatten(1)
            nearest = (half_norms - images @ pool.T).argmin(1)
            distances[block] = (images - pool[nearest]).square().mean(1).cpu().double().numpy()
        progress(position + 1, len(classes), f"class {label}")
    return distances


def threshold(distances: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over classes of the mean distance within each, and those means (K,)."""
    per_class = np.array([distances[labels == label].mean() for label in np.unique(labels)])
    return float(per_class.mean()), per_class
