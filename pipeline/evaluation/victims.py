"""The victims of an experiment: what an adversary sees of each, and the images it may have been trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.config import Experiment
from pipeline.data.images import target_images
from pipeline.data.sources import load
from pipeline.reconstruction.candidates import candidate_groups
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
    experiment: Experiment,
    mode: str,
    shard: Mapping[str, np.ndarray],
    standardise: Standardisation,
    device: torch.device,
) -> VictimSet:
    """The heads of a `test` shard (weights, indices) as victims of a reconstructor in `mode`."""
    data = experiment.data
    images = target_images(load(data, "test", experiment.paths.data_root), data.image_size)
    indices = torch.as_tensor(shard["indices"]).long()
    groups = candidate_groups(indices, experiment.shadow_models.class_size, mode, experiment.task.kind)
    inputs = standardise.apply(torch.as_tensor(shard["weights"]).to(device))
    return VictimSet(inputs, images.to(device), groups.to(device))
