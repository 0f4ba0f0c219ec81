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


def most_identity_sets(identities: np.ndarray, class_size: int) -> int:
    """How many sets `deal_identities` deals at most: one for each photo of a person with more than `class_size`."""
    counts = np.unique(identities, return_counts=True)[1]
    return int(counts[counts > class_size].sum())


def deal_identities(identities: np.ndarray, class_size: int, models: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One person against others, as published for CelebA: `class_size` photos of a person, 9·class_size of others.

    identities: (n,), any integers. The seed permutes all photos. Walking through them, each photo of a person with more
    than `class_size` photos gives a set: that person's first `class_size` photos in this order, the same every time,
    and others' photos drawn at random, with replacement. So a person comes as often as there are photos of it. Returns
    image indices (models, 10*class_size), int32, and labels of the same shape: the person (1) first, the others (0)
    after it. The published program draws the others without a seed; here the same seed draws them.
    Raises UserError when the photos give fewer sets.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(identities))
    _, person, counts = np.unique(identities, return_inverse=True, return_counts=True)
    person = person.reshape(-1)
    walked = order[counts[person[order]] > class_size]
    if len(walked) < models:
        raise UserError(
            f"{models} models need as many photos of people with more than {class_size}; there are {len(walked)}: "
            f"deal at most {len(walked)} models"
        )
    if len(counts) < 2:
        raise UserError("sets need photos of other people; there is one person in all")
    by_person = order[np.argsort(person[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    indices = np.empty((models, 10 * class_size), dtype=np.int32)
    for row, who in zip(indices, person[walked[:models]], strict=True):
        start, stop = starts[who], starts[who] + counts[who]
        row[:class_size] = by_person[start : start + class_size]
        elsewhere = rng.integers(len(identities) - counts[who], size=9 * class_size)
        row[class_size:] = by_person[np.where(elsewhere < start, elsewhere, elsewhere + (stop - start))]
    labels = np.repeat([1, 0], [class_size, 9 * class_size])
    return indices, np.tile(labels, (models, 1))
