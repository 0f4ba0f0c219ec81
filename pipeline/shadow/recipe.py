"""Making the shadow models of any permutation seed: into a shard, or straight into the training that wants them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.errors import Failure
from pipeline.networks.settings import FEATURES
from pipeline.randomness import torch_generator
from pipeline.shadow import seeds
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import INITIAL_WEIGHTS
from pipeline.shadow.train import train_shard
from pipeline.store import Shards, read_arrays
from pipeline.weight_files import read_linear_layer

if TYPE_CHECKING:
    from pipeline.config import Experiment


def head_of(experiment: "Experiment") -> Head:
    """The head that an experiment's models have on its backbone."""
    training = experiment.shadow_models.training
    return Head(FEATURES[experiment.backbone.name], training.hidden, training.classes)


def known_initial_weights(experiment: "Experiment") -> torch.Tensor | None:
    """(P,), where the experiment names a file with them."""
    training, head = experiment.shadow_models.training, head_of(experiment)
    if training.initial_weights is None:
        return None
    return read_linear_layer(training.initial_weights, INITIAL_WEIGHTS, head.inputs, head.outputs)


@dataclass(frozen=True)
class Made:
    """weights (M, P) on the device that made them; indices (M, N) of the images; labels (M, N) that heads learnt.

    coefficients (M, R, N) float32: C of first-layer weights α W'_0 + C X'; None where training leaves sample space.
    """

    weights: torch.Tensor
    indices: np.ndarray
    labels: np.ndarray
    coefficients: torch.Tensor | None


@dataclass(frozen=True)
class Recipe:
    """Features (n, D), resident on the device that does the work, and the labels (n,) they are dealt by."""

    experiment: "Experiment"
    features: torch.Tensor
    labels: np.ndarray

    @classmethod
    def of(cls, experiment: "Experiment", shard: str, deep_features: Shards, device: torch.device) -> "Recipe":
        """For `shard` and all others of its split; raises Failure for features that are not the backbone's."""
        name = seeds.features_of(experiment, shard)
        path = deep_features.paths[name]
        table = read_once(path, path.stat().st_mtime_ns)
        width, expected = table["features"].shape[1], FEATURES[experiment.backbone.name]
        if width != expected:
            raise Failure(
                f"deep_features {name} has {width} features an image, and {experiment.backbone.name} makes {expected}: "
                f"remove {path} and `python -m jobs resume {experiment.arguments}`"
            )
        return cls(experiment, torch.as_tensor(table["features"]).to(device), table["labels"])

    def make(self, shard: str) -> Made:
        """The models of a permutation seed; equal bytes whenever and wherever it is made, on one type of device.

        One CPU thread makes them, since the threads decide the order of sums.
        """
        indices, labels = seeds.deal(self.experiment, shard, self.labels)
        coefficients = None
        if self.experiment.shadow_models.training.in_sample_space:
            shape = len(indices), head_of(self.experiment).rows, indices.shape[1]
            coefficients = torch.empty(shape, device=self.features.device)
        weights = self.train(indices, labels, (self.experiment.seed, "shadow_models", shard), coefficients=coefficients)
        return Made(weights, indices, labels, coefficients)

    def train(
        self,
        indices: np.ndarray,
        labels: np.ndarray,
        purpose: tuple[str | int, ...],
        start_error: float = 0.0,
        **options: torch.Tensor | None,
    ) -> torch.Tensor:
        """Weights (M, P) of heads trained on sets (M, N) of this split; `options` as in train_shard. `purpose`
        seeds. `start_error`: deviation of numbers by which the starts differ where otherwise all would be the same."""
        device = self.features.device
        chosen, learnt = (torch.as_tensor(array).to(device) for array in (indices, labels))
        training = self.experiment.shadow_models.training
        initial = known_initial_weights(self.experiment)
        if initial is None and start_error and training.initial == "zero":
            initial = torch.zeros(head_of(self.experiment).size)
        if initial is not None:
            initial = initial.to(device).expand(len(indices), -1)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            generator = torch_generator(*purpose, device=device)
            if initial is not None and start_error:
                initial = initial + start_error * torch.randn(initial.shape, generator=generator, device=device)
            return train_shard(self.features, chosen, learnt, training, generator, initial, **options)
        finally:
            torch.set_num_threads(threads)


@lru_cache(maxsize=2)
def read_once(path: Path, written: int):
    """Features and labels, kept for the next shard that this process makes: for CIFAR-10 they are 256 MB."""
    return read_arrays(path, "features", "labels")


def training_weights(
    experiment: "Experiment", shadow_models: Shards | None, deep_features: Shards | None, device: torch.device
) -> Iterator[torch.Tensor]:
    """The weights (M, P) of every training seed in turn, from its shard or, for a stream, made now."""
    if experiment.shadow_models.source == "shards":
        for block in shadow_models.matching("train").blocks("weights"):
            yield torch.as_tensor(block).to(device)
        return
    names = [seeds.training_seed(seed) for seed in range(experiment.shadow_models.seeds)]
    recipe = Recipe.of(experiment, names[0], deep_features, device)
    for name in names:
        yield recipe.make(name).weights
