"""The front door: trains the heads of a whole shard, block by block, by the engine that the training's terms call for.

A block is the unit of work and of random draws. Its size depends on the shapes and on the device's type alone, never on
what else the machine is doing, so the same generator gives the same weights everywhere.
"""

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.shadow import loss
from pipeline.shadow.gram import train_gram
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training

BLOCK_NUMBERS = {"cpu": 2**20, "cuda": 2**28}
"""Features and weights of a block: 4 MiB stay in a core's share of the cache, 1 GiB fills a GPU."""


def train_shard(
    features: Tensor,
    indices: Tensor,
    labels: Tensor,
    training: Training,
    generator: torch.Generator,
    initial: Tensor | None = None,
) -> Tensor:
    """Trains one head on each training set of a shard.

    features: (n, D), the whole data set's, on the device that shall do the work; indices: (M, N), rows of `features`;
    labels: (M, N) classes. Returns weights (M, P) on the device of `features`, in the order of heads.Head.
    The generator, on the same device, draws the initial weights, unless `initial` (M, P) gives them.
    Raises UserError for features that are not finite and labels that are no class, naming the model.
    """
    models, samples = indices.shape
    head = Head(features.shape[1], training.hidden, training.classes)
    dtype = getattr(torch, training.dtype)
    check_inputs(features, indices, labels, training)
    weights = torch.empty(models, head.size, dtype=dtype, device=features.device)
    for start in range(0, models, size := models_per_block(head, samples, features.device)):
        block = slice(start, start + size)
        chosen = features.index_select(0, indices[block].flatten()).to(dtype).view(-1, samples, head.inputs)
        target = loss.targets(labels[block], head.outputs, dtype)
        if initial is None:
            given = head.draw(len(chosen), training.init_std, generator, dtype)
        else:
            given = head.split(initial[block])
        weights[block] = head.join(train_gram(chosen, target, training, given))
    return weights


def train_heads(
    features: Tensor, labels: Tensor, training: Training, generator: torch.Generator, initial: Tensor | None = None
) -> Tensor:
    """`train_shard` for features (M, N, D) that are already dealt."""
    models, samples, inputs = features.shape
    indices = torch.arange(models * samples, device=features.device).view(models, samples)
    return train_shard(features.reshape(-1, inputs), indices, labels, training, generator, initial)


def models_per_block(head: Head, samples: int, device: torch.device) -> int:
    numbers = samples * (head.inputs + samples) + head.size
    return max(1, BLOCK_NUMBERS[device.type] // numbers)


def check_inputs(features: Tensor, indices: Tensor, labels: Tensor, training: Training) -> None:
    """Refuses, in one line that names a model, what would train to nonsense."""
    sound = features.isfinite().all(1)
    if not sound.all() and len(bad := (~sound[indices.long()]).any(1).nonzero()):
        raise UserError(f"model {bad[0].item()}: its training set has features that are not finite (NaN or infinite)")
    classes = max(training.classes, 2)
    if len(bad := ((labels < 0) | (labels >= classes)).any(1).nonzero()):
        raise UserError(f"model {bad[0].item()}: a label is outside the head's classes 0 … {classes - 1}")
    if indices.shape[1] % (training.batch_size or indices.shape[1]):
        raise UserError(f"training sets of {indices.shape[1]} do not divide into batches of {training.batch_size}")
