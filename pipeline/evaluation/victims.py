"""The victims of an experiment: what an adversary sees of each, and the images it may have been trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.statistics import Standardisation


@dataclass(frozen=True)
class VictimSet:
    """V victims: inputs z (V, kept), the images (n, C, S, S) uint8 and the candidates (V, G, J) among them."""

    inputs: torch.Tensor
    images: torch.Tensor
    groups: torch.Tensor

    def first(self, count: int) -> "VictimSet":
        return replace(self, inputs=self.inputs[:count], groups=self.groups[:count])

    def with_inputs(self, inputs: torch.Tensor) -> "VictimSet":
        """The same training sets behind other weights: what H1 is scored against."""
        return replace(self, inputs=inputs)


def victims_of(
    data: DataSet,
    root: Path,
    shard: Mapping[str, np.ndarray],
    groups_of: Callable[[torch.Tensor], torch.Tensor],
    standardise: Standardisation,
    device: torch.device,
) -> VictimSet:
    """The heads of a `test` shard (weights, indices), trained on the test split of `data`, as victims.

    `groups_of` makes the candidates of each reconstruction from the indices.
    """
    images = target_images(load(data, "test", root), data.image_size)
    inputs = standardise.apply(torch.as_tensor(shard["weights"]).to(device))
    return VictimSet(inputs, images.to(device), groups_of(torch.as_tensor(shard["indices"]).long()).to(device))
