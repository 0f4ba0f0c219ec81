"""What a victim learns: its training images with their classes, and held-out images of the same classes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet
from pipeline.data.sources import ImageSource, load
from pipeline.errors import UserError
from pipeline.kkt.settings import ProblemSettings
from pipeline.kkt.toys import TOYS
from pipeline.randomness import numpy_generator, torch_generator

VEHICLES = (0, 1, 8, 9)
"""CIFAR-10's aeroplane, automobile, ship and truck: class 0; the animals are class 1, +1 (as published)."""


@dataclass(frozen=True)
class Problem:
    """Images (n, C, H, W) float64 in [0, 1] and classes (n,) int64; of binary problems 1 is positive.

    `indices` (n,) are places in the data's train split (of a toy: 0, 1, …). `held_out_images` and `held_out_labels`
    are the test split under the same labels, which no victim sees; `validation`, images and labels of the train split
    beside those learnt, to watch training on.
    """

    kind: Literal["binary", "multiclass", "regression"]
    images: Tensor
    labels: Tensor
    indices: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor
    validation: tuple[Tensor, Tensor] | None = None
    subtracts_mean: bool = True

    @property
    def mean(self) -> Tensor:
        """(C, H, W): what is taken from every image before a network sees it; zeros where nothing is."""
        return self.images.mean(0) if self.subtracts_mean else torch.zeros_like(self.images[0])

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def outputs(self) -> int:
        """Logits of a network for this problem."""
        return self.classes if self.kind == "multiclass" else 1


def signs(labels: Tensor) -> Tensor:
    """Classes 0 and 1 as −1 and 1, float64: the targets of networks with one logit."""
    return 2.0 * labels.double() - 1


LABELLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "classes": lambda labels: labels,
    "odd_even": lambda labels: labels % 2,
    "vehicles_animals": lambda labels: np.isin(labels, VEHICLES, invert=True).astype(np.int64),
}
"""From the labels of a data set to the classes of a problem. A new problem is a line here (or a toy, in toys.py)."""


def load_problem(settings: ProblemSettings, data: DataSet | None, root: Path, seed: int) -> Problem:
    """The problem of an experiment; raises UserError where the data cannot supply it."""
    per_class, validated = settings.images_per_class, settings.validation_per_class
    if settings.is_toy:
        draw = TOYS[settings.labels]
        images, labels = draw(per_class, torch_generator(seed, "toy", "train"))
        held_out = draw(settings.held_out_per_class or per_class, torch_generator(seed, "toy", "held out"))
        validation = draw(validated, torch_generator(seed, "toy", "validation")) if validated else None
        places = torch.arange(len(labels))
        return Problem(settings.kind, images, labels, places, *held_out, validation, settings.subtract_mean)
    train, test = load(data, "train", root), load(data, "test", root)
    labels, held_out_labels = (LABELLINGS[settings.labels](source.labels) for source in (train, test))
    chosen, watched = choose(labels, settings, seed)
    held_out = np.arange(len(test))
    if settings.held_out_per_class:
        held_out = _balanced(_members(held_out_labels), 0, settings.held_out_per_class, "held_out_per_class")

    def pair(source: ImageSource, of: np.ndarray, places: np.ndarray) -> tuple[Tensor, Tensor]:
        return _pixels(source, places, data.image_size), torch.as_tensor(of[places])

    return Problem(
        settings.kind,
        *pair(train, labels, chosen),
        torch.as_tensor(chosen),
        *pair(test, held_out_labels, held_out),
        pair(train, labels, watched) if validated else None,
        settings.subtract_mean,
    )


def choose(labels: np.ndarray, settings: ProblemSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices, rising, of `images_per_class` images of each class, and of the `validation_per_class` after them.

    The first in file order, or drawn by the seed.
    """
    learnt, members = settings.images_per_class, _members(labels)
    if len(members) < 2:
        raise UserError(f"kkt.problem.labels: {settings.labels} gives every image one class; there is nothing to learn")
    if settings.choice == "random":
        generator = numpy_generator(seed, "kkt problem")
        members = [generator.permutation(of_class) for of_class in members]
    chosen = _balanced(members, 0, learnt, "images_per_class")
    return chosen, _balanced(members, learnt, settings.validation_per_class, "validation_per_class")


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each class in file order."""
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


def _balanced(members: list[np.ndarray], start: int, count: int, key: str) -> np.ndarray:
    """Indices, rising, of `count` members of each class from the place `start` on; UserError where a class is short."""
    left = [max(0, len(of_class) - start) for of_class in members]
    if min(left) < count:
        raise UserError(f"kkt.problem.{key} is {count}; class {np.argmin(left)} has only {min(left)} images for it")
    return np.sort(np.concatenate([of_class[start : start + count] for of_class in members]))


@dataclass(frozen=True)
class Unlearnt:
    """What is left of the data's train split: classes (r,) int64, and `read(places (b,))` → (b, C, H, W) float32."""

    labels: Tensor
    read: Callable[[Tensor], Tensor]


def unlearnt(problem: Problem, settings: ProblemSettings, data: DataSet | None, root: Path) -> Unlearnt:
    """Images like those the victim learnt, from the same split, that it did not learn; a toy has none."""
    if settings.is_toy:
        return Unlearnt(problem.labels[:0], lambda places: problem.images[:0].float())
    train = load(data, "train", root)
    labels = LABELLINGS[settings.labels](train.labels)
    rest = np.setdiff1d(np.arange(len(labels)), problem.indices)
    return Unlearnt(
        torch.as_tensor(labels[rest]),
        lambda places: _pixels(train, rest[places.cpu().numpy()], data.image_size).float(),
    )


def _pixels(source: ImageSource, chosen: np.ndarray, size: int) -> Tensor:
    return target_images(source.part(chosen), size).double() / 255
