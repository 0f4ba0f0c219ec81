"""The adversary's images that taught the attack nothing, dealt for an audit: heads for the null, and heads to test on.

Nothing is dealt that is one of the private images. The null's heads and those of either half of the tests have images
of their own, so that thresholds, rates and null never share an image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.data.deal import deal
from pipeline.errors import UserError
from pipeline.shadow.recipe import Recipe

NULL, FIRST, SECOND, LEFT_OUT = 0, 1, 2, -1
SHARES = ((NULL, 0.5), (FIRST, 0.75), (SECOND, 1.0))


def parts_of(labels: np.ndarray, left_out: np.ndarray, class_size: int, generator: np.random.Generator) -> np.ndarray:
    """(n,): of each class half of the images for the null and a quarter for either half of the tests; `left_out` (n,)
    marks the private ones. Raises UserError where a quarter has no stranger beside a training set."""
    parts = np.full(len(labels), LEFT_OUT)
    for number in np.unique(labels):
        places = generator.permutation(np.flatnonzero((labels == number) & ~left_out))
        if len(places) // 4 <= class_size:
            raise UserError(
                f"subject: class {number} has {len(places)} images in the test split beside the private ones; an audit "
                f"needs at least {4 * (class_size + 1)}: half of them set the null, and each quarter tests it"
            )
        start = 0
        for part, end in SHARES:
            stop = round(end * len(places))
            parts[places[start:stop]] = part
            start = stop
    return parts


@dataclass(frozen=True)
class Heads:
    """weights (M, P) of heads, and the places (M, N) in the held-out split of the images that trained each."""

    weights: Tensor
    indices: np.ndarray


def train_on(recipe: Recipe, part: np.ndarray, count: int, purpose: tuple[str | int, ...]) -> Heads:
    """`count` heads on the images at the places `part`, dealt anew as often as that takes."""
    class_size = recipe.experiment.shadow_models.class_size
    labels = recipe.labels[part]
    most = int(np.bincount(labels).min()) // class_size
    weights, indices = [], []
    for number in range(-(-count // most)):
        dealt = part[deal(labels, class_size, most, number)]
        weights.append(recipe.train(dealt, recipe.labels[dealt].astype(np.int32), (*purpose, number)).float())
        indices.append(dealt)
    return Heads(torch.cat(weights)[:count], np.concatenate(indices)[:count])
