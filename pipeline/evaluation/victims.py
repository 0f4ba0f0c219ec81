"""The victims of an experiment: what an adversary sees of each, and the images it may have been trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet, Task
from pipeline.data.sources import load
from pipeline.evaluation.reading import Reader, Reading
from pipeline.shadow.heads import Head, forward
from pipeline.shadow.settings import Training
from pipeline.store import Shards


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


@dataclass(frozen=True)
class Accuracy:
    """Of V heads: shares (V,) of right answers on the images that trained each, and on all others of the split."""

    trained: np.ndarray
    unseen: np.ndarray


def accuracy(
    weights: torch.Tensor,
    features: torch.Tensor,
    labels: np.ndarray,
    indices: np.ndarray,
    task: Task,
    training: Training,
) -> Accuracy | None:
    """weights (V, P); features (n, D) and class labels (n,) of the split; indices (V, N) of what trained each.

    None where the task is identity: each head then knows a person of its own.
    """
    if task.kind == "identity":
        return None
    head = Head(features.shape[1], training.hidden, training.classes)
    wanted = torch.as_tensor(np.isin(labels, task.positive) if task.kind == "binary" else labels).to(features.device)
    trained, unseen = [], []
    for own, rows in zip(weights.split(1), torch.as_tensor(indices).long().to(features.device), strict=True):
        logits = forward(head.split(own), features[None])[0]
        right = (logits.argmax(0) if training.classes > 1 else logits[0] > 0) == wanted
        remembered = int(right[rows].sum())
        trained.append(remembered / len(rows))
        unseen.append((int(right.sum()) - remembered) / (len(labels) - len(rows)))
    return Accuracy(np.array(trained), np.array(unseen))
