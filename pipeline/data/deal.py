"""Which images train which shadow model: a seed deals the data into disjoint training sets."""

import numpy as np

from pipeline.errors import UserError
from pipeline.randomness import numpy_generator


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


def random_labels(images: int, classes: int, seed: int) -> np.ndarray:
    """Balanced labels (images,) that have nothing to do with the images: out-of-distribution shadows are dealt by them.

    Seeded apart from `deal`, so that equal seeds do not put equal labels together.
    """
    rng = numpy_generator("random labels", seed)
    return rng.permutation(np.arange(images) % classes)


def deal_identities(identities: np.ndarray, class_size: int, models: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One person against others, as for CelebA: `class_size` photos of one identity, 9·class_size photos of others.

    identities: (n,), any integers. Returns image indices (models, 10*class_size), int32, and labels of the same shape:
    the identity (1) first, the others (0) after it. Identities with more than `class_size` photos take turns in random
    order; within a set no photo occurs twice, between sets photos may.
    Raises UserError when no identity has enough photos, or the others have too few.
    """
    rng = np.random.default_rng(seed)
    by_identity = np.argsort(identities, kind="stable")
    _, starts, counts = np.unique(identities[by_identity], return_index=True, return_counts=True)
    eligible = np.flatnonzero(counts > class_size)
    others = 9 * class_size
    if len(eligible) == 0:
        raise UserError(f"no identity has more than {class_size} photos; the most is {counts.max()}")
    if len(identities) - counts[eligible].max() < others:
        raise UserError(f"sets need {others} photos of other people; there are {len(identities)} photos in all")

    turns = -(-models // len(eligible))
    persons = np.concatenate([rng.permutation(eligible) for _ in range(turns)])[:models]
    places = np.empty((models, 10 * class_size), dtype=np.int64)
    for row, person in zip(places, persons, strict=True):
        start, count = starts[person], counts[person]
        elsewhere = rng.choice(len(identities) - count, others, replace=False)
        row[:class_size] = start + rng.choice(count, class_size, replace=False)
        row[class_size:] = elsewhere + count * (elsewhere >= start)
    labels = np.repeat([1, 0], [class_size, others])
    return by_identity[places].astype(np.int32), np.tile(labels, (models, 1))
