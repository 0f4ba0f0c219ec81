"""The victims of an experiment: what an adversary sees of each, and the images it may have been trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet, Task
from pipeline.data.sources import load
from pipeline.evaluation.reading import Reader, Reading
from pipeline.shadow import seeds
from pipeline.shadow.heads import Head, forward
from pipeline.shadow.settings import Training
from pipeline.store import Shards

if TYPE_CHECKING:
    from pipeline.config import Experiment

OTHER_FEATURES = (
    "the victims were imported, and what is here was learnt from the features of another backbone: import theirs too "
    "(deep_features/{features}), name the file of their backbone in backbone.weights, or import the reconstructor and "
    "weight_stats as well (imported: [weight_stats, reconstructor]; evaluation.nulls without minus_one)"
)
NOT_THEIRS = (
    "The accuracy of the victims is left out: they were imported without the features that they were trained on, and "
    "backbone.weights names no file of their backbone"
)


@dataclass(frozen=True)
class VictimSet:
    """V victims, as `reading` shows them, the images (n, C, S, S) uint8 and the candidates (V, G, J) among them."""

    reading: Reading
    images: torch.Tensor
    groups: torch.Tensor

    def __len__(self) -> int:
        return len(self.groups)

    def first(self, count: int) -> "VictimSet":
        return replace(self, reading=self.reading[:count], groups=self.groups[:count])

    def with_reading(self, reading: Reading) -> "VictimSet":
        """The same training sets behind other weights: what H1 is scored against."""
        return replace(self, reading=reading)


def scored_heads(shadow_models: Shards) -> dict[str, np.ndarray]:
    """The arrays of all `test` shards, seed after seed, as far as every one has them; seed (V,): which each is of."""
    scored = shadow_models.matching("test")
    parts = [scored.read(shard) for shard in scored.names]
    common = set.intersection(*(set(part) for part in parts))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in common}
    return joined | {"seed": np.repeat(np.arange(len(parts)), [len(part["weights"]) for part in parts])}


def features_are_theirs(experiment: "Experiment", shadow_models: Shards, deep_features: Shards) -> bool:
    """Whether the scored heads were trained on the features that are here, as far as the experiment says.

    Imported heads are another program's: its features are here where they were imported too, or where the experiment
    names the file of its backbone.
    """
    scored = shadow_models.matching("test")
    if not any("imported" in scored.attributes(shard) for shard in scored.names):
        return True
    features = deep_features.attributes(seeds.features_of(experiment, seeds.VICTIMS))
    return "imported" in features or experiment.backbone.weights is not None


def victims_of(
    data: DataSet,
    root: Path,
    shard: Mapping[str, np.ndarray],
    groups_of: Callable[[torch.Tensor], torch.Tensor],
    reader: Reader,
    device: torch.device,
) -> VictimSet:
    """The heads of `test` shards (weights, indices), trained on the test split of `data`, as victims.

    `groups_of` makes the candidates of each reconstruction from the indices.
    """
    images = target_images(load(data, "test", root), data.image_size)
    reading = reader.read(torch.as_tensor(shard["weights"]).to(device))
    return VictimSet(reading, images.to(device), groups_of(torch.as_tensor(shard["indices"]).long()).to(device))


def accuracy(
    weights: torch.Tensor,
    features: torch.Tensor,
    labels: np.ndarray,
    indices: np.ndarray,
    task: Task,
    training: Training,
) -> dict[str, np.ndarray]:
    """Shares (V,) of right answers: `trained`, of the images that trained each head, `unseen`, of the split's others.

    weights (V, P); features (n, D) and class labels (n,) of the split; indices (V, N) of what trained each. Heads with
    one logit have `<of>_true_positive` and `<of>_true_negative` too: right answers among the images of the positive
    classes (of an identity's head: photos of its person, who comes first in the training set), and among all others.
    """
    head = Head(features.shape[1], training.hidden, training.classes)
    classes = torch.as_tensor(labels, device=features.device)
    positive = torch.as_tensor(np.isin(labels, task.positive), device=features.device)
    found: dict[str, list[float]] = {}
    for own, rows in zip(weights.split(1), torch.as_tensor(indices).long().to(features.device), strict=True):
        logits = forward(head.split(own), features[None])[0]
        if task.kind == "identity":
            positive = classes == classes[rows[0]]
        right = logits.argmax(0) == classes if training.classes > 1 else (logits[0] > 0) == positive
        trained = torch.zeros_like(right).index_fill_(0, rows, True)  # an image that comes twice counts once
        for of, among in (("trained", trained), ("unseen", ~trained)):
            groups = {of: among}
            if training.classes == 1:
                groups |= {f"{of}_true_positive": among & positive, f"{of}_true_negative": among & ~positive}
            for name, group in groups.items():
                found.setdefault(name, []).append(right[group].float().mean().item())
    return {name: np.array(shares) for name, shares in found.items()}
