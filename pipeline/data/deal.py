"""Which images train which shadow model: a seed deals the data into disjoint training sets."""

import numpy as np

from pipeline.errors import UserError


def deal(labels: np.ndarray, class_size: int, models: int, seed: int) -> np.ndarray:
    """Disjoint balanced training sets, as published: `class_size` images of every class for each model.

    labels: (n,) classes 0 … classes-1. Returns image indices (models, classes*class_size), int32; a row is ordered by
    class, its first `class_size` images are of class 0. The deal depends on nothing but `labels` and `seed`; a smaller
    `models` is a prefix of a larger one.
    Raises UserError when the smallest class deals fewer models.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    counts = np.bincount(labels)
    most = counts.min() // class_size
    if models > most:
        raise UserError(
            f"{models} models with {class_size} images a class need {models * class_size} images of every class; "
            f"class {counts.argmin()} has {counts.min()}: deal at most {most} models"
        )
    hands = [
        order[labels[order] == label][: models * class_size].reshape(models, class_size) for label in range(len(counts))
    ]
    return np.concatenate(hands, axis=1, dtype=np.int32)
