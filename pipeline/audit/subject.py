"""The heads under audit with the images that trained them, ready to be attacked; and the adversary's images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.audit.private_images import PrivateImages, read_private_images
from pipeline.audit.settings import HEAD
from pipeline.config import Experiment
from pipeline.data.images import target_images, to_unit
from pipeline.data.sources import Split, load
from pipeline.networks.backbones import extract_features
from pipeline.networks.stored import stored_backbone
from pipeline.shadow.recipe import head_of
from pipeline.store import Shards
from pipeline.weight_files import read_linear_layer


@dataclass(frozen=True)
class Audited:
    """A head's weights (P,), and its N private images, class after class: bytes (N, C, S, S), labels (N,), the names of
    the classes, and their features (N, D)."""

    weights: Tensor
    images: Tensor
    labels: np.ndarray
    names: tuple[str, ...]
    features: Tensor


def read_heads(experiment: Experiment) -> list[Tensor]:
    """The weights (P,) of every head; raises UserError for files that hold no such head."""
    head = head_of(experiment)
    return [read_linear_layer(path, HEAD, head.inputs, head.outputs) for path in experiment.subject.heads]


def read_sets(experiment: Experiment) -> list[PrivateImages]:
    """The private images of every head, those of one file read once."""
    shadow = experiment.shadow_models
    found = {
        path: read_private_images(path, experiment.data, shadow.training.classes, shadow.class_size)
        for path in dict.fromkeys(experiment.subject.sets)
    }
    return [found[path] for path in experiment.subject.sets]


def audited(experiment: Experiment, inputs: Mapping[str, Shards], device: torch.device) -> list[Audited]:
    """`inputs`: the backbone's, where a stage made it."""
    classifier = stored_backbone(experiment, inputs).to(device)
    found = []
    for weights, private in zip(read_heads(experiment), read_sets(experiment), strict=True):
        features = extract_features(classifier, private.source, _silent)
        images = target_images(private.source, experiment.data.image_size)
        found.append(Audited(weights, images, private.source.labels, private.names, features))
    return found


def _silent(done: int, total: int, text: str) -> None:
    pass


@dataclass(frozen=True)
class Gallery:
    """The adversary's images of a split: bytes (n, C, S, S) and class labels (n,)."""

    images: Tensor
    labels: np.ndarray

    @classmethod
    def of(cls, experiment: Experiment, split: Split) -> "Gallery":
        source = load(experiment.data, split, experiment.paths.data_root)
        return cls(target_images(source, experiment.data.image_size), source.labels)

    def part(self, places: np.ndarray) -> "Gallery":
        return Gallery(self.images[places], self.labels[places])

    def first_of_each_class(self, count: int) -> "Gallery":
        kept = [np.flatnonzero(self.labels == number)[:count] for number in np.unique(self.labels)]
        return self.part(np.sort(np.concatenate(kept)))

    def with_others(self, other: "Gallery") -> "Gallery":
        return Gallery(torch.cat([self.images, other.images]), np.concatenate([self.labels, other.labels]))

    @property
    def rows(self) -> Tensor:
        """(n, P): images as rows of numbers in [-1, 1]."""
        return to_unit(self.images).flatten(1)

    def holds(self, images: Tensor) -> np.ndarray:
        """(m,): which of the images (m, C, S, S) are among these, byte for byte."""
        return _marked(images, self.images)

    def among(self, images: Tensor) -> np.ndarray:
        """(n,): which of these are among `images`."""
        return _marked(self.images, images)


def _marked(images: Tensor, others: Tensor) -> np.ndarray:
    known = {image.tobytes() for image in others.numpy()}
    return np.array([image.tobytes() in known for image in images.numpy()])
