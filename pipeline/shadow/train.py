"""The front door: trains the heads of a whole shard, block by block, by the engine that the training's terms call for.

A block is the unit of work and of random draws. Its size depends on the shapes and on the device's type alone, never on
what else the machine is doing, so the same generator gives the same weights everywhere.
"""

import torch
from torch import Tensor

from pipeline.errors import Failure, UserError
from pipeline.shadow.gram import train_gram
from pipeline.shadow.heads import Head, forward
from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training

BLOCK_NUMBERS = {"cpu": 2**20, "cuda": 2**28}
"""Features, Gram matrices and weights of a block: 4 MiB stay in a core's share of the cache, 1 GiB fills a GPU."""


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
    labels: (M, N), classes. Returns weights (M, P) on the device of `features`, in the order of heads.Head.
    The generator, on the same device, draws the initial weights, unless `initial` (M, P) gives them.
    Raises UserError for features that are not finite and for labels that are no class, Failure for a training that
    diverges or whose loss stays above `restart.loss_below`; each names the model.
    """
    models, samples = indices.shape
    head = Head(features.shape[1], training.hidden, training.classes)
    check_sets(labels, training)
    dtype, device = getattr(torch, training.dtype), features.device
    indices, labels = indices.to(device), labels.to(device)
    weights = torch.empty(models, head.size, dtype=dtype, device=device)
    size = models_per_block(head, samples, device)
    gathered = features.new_empty(min(size, models) * samples, head.inputs)
    for start in range(0, models, size):
        block = slice(start, min(start + size, models))
        rows = indices[block].flatten()
        chosen = torch.index_select(features, 0, rows, out=gathered[: len(rows)]).to(dtype)
        chosen = chosen.view(-1, samples, head.inputs)
        targets = Targets.of(labels[block], head.outputs, training.positive_weight, dtype)
        given = None if initial is None else initial[block]
        train_block(head, chosen, targets, training, generator, weights[block], given, first_model=start)
    return weights


def train_heads(
    features: Tensor, labels: Tensor, training: Training, generator: torch.Generator, initial: Tensor | None = None
) -> Tensor:
    """`train_shard` for features (M, N, D) that are already dealt."""
    models, samples, inputs = features.shape
    indices = torch.arange(models * samples).view(models, samples)
    return train_shard(features.reshape(-1, inputs), indices, labels, training, generator, initial)


def train_block(head, features, targets, training, generator, weights, initial, first_model) -> None:
    """Fills weights (m, P); models whose loss stays above the restart's threshold go on alone from fresh weights."""
    if initial is None:
        head.draw(weights, training.init_std, generator)
    else:
        weights.copy_(initial)
    train_gram(features, targets, training, head.split(weights))
    check_weights(weights, features, first_model)
    if training.restart is None:
        return
    attempts, threshold = training.restart.attempts, training.restart.loss_below
    unfinished = torch.arange(len(weights), device=weights.device)
    trained = weights
    for attempt in range(1, attempts + 1):
        high = targets.mean_loss(forward(head.split(trained), features)) >= threshold
        if not high.any():
            return
        if attempt == attempts:
            break
        unfinished, features, targets = unfinished[high], features[high], targets[high]
        trained = weights.new_empty(len(unfinished), head.size)
        head.draw(trained, training.init_std, generator)
        train_gram(features, targets, training, head.split(trained))
        weights[unfinished] = trained
    raise Failure(
        f"model {first_model + unfinished[high][0].item()}: its loss stayed at or above {threshold:g} in {attempts} "
        f"attempts; raise restart.loss_below, restart.attempts or epochs"
    )


def models_per_block(head: Head, samples: int, device: torch.device) -> int:
    return max(1, BLOCK_NUMBERS[device.type] // (samples * (head.inputs + samples) + head.size))


def check_sets(labels: Tensor, training: Training) -> None:
    """Refuses, in one line, what cannot be trained as described."""
    classes = max(training.classes, 2)
    outside = ((labels < 0) | (labels >= classes)).any(1)
    if outside.any():
        raise UserError(f"model {first(outside)}: a label is outside the head's classes 0 … {classes - 1}")
    samples = labels.shape[1]
    if samples % (training.batch_size or samples):
        raise UserError(f"training sets of {samples} do not divide into batches of {training.batch_size}")


def check_weights(weights: Tensor, features: Tensor, first_model: int) -> None:
    """Weights that are not finite come from features that are not, or from steps that were too large."""
    lost = ~weights.sum(1).isfinite()
    if not lost.any():
        return
    tainted = ~features.isfinite().all(2).all(1)
    if tainted.any():
        model = first_model + first(tainted)
        raise UserError(f"model {model}: its training set has features that are not finite (NaN or infinite)")
    raise Failure(f"model {first_model + first(lost)}: training diverged; lower learning_rate")


def first(flags: Tensor) -> int:
    return flags.nonzero()[0].item()
