"""The reader of an experiment's heads, from what its stages stored."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.evaluation.reading import WeightReader
from pipeline.head_inversion.build import stored_inversion
from pipeline.head_inversion.reading import FeatureReader
from pipeline.head_inversion.settings import inverts_heads
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.statistics import Standardisation
from pipeline.store import Shards

if TYPE_CHECKING:
    from pipeline.config import Experiment


def reader_of(
    experiment: "Experiment",
    mode: str,
    inputs: Mapping[str, Shards],
    heads: Mapping[str, np.ndarray],
    device: torch.device,
) -> WeightReader | FeatureReader:
    """What `reconstructor.reads` asks for: from the shards of weight_stats, or of head_inversion.

    `heads`: a shard of shadow models, whose indices (M, N) say how many images train one.
    """
    standardise = None
    if "weight_stats" in inputs:
        statistics = inputs["weight_stats"].read("all", "kept", "mean", "deviation")
        standardise = Standardisation.from_arrays(statistics, device)
    if inverts_heads(experiment):
        inversion = stored_inversion(experiment, inputs["head_inversion"], device)
        return FeatureReader(inversion, mode, experiment.task.kind, standardise.restore if standardise else None)
    size, task = experiment.shadow_models.class_size, experiment.task.kind
    groups = candidate_groups(torch.as_tensor(heads["indices"][:1]), size, mode, task).shape[1]
    return WeightReader(standardise, groups, conditional=mode == "conditional")
