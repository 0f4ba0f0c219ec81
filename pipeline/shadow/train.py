"""Trains the heads of a shard, block by block; picks the engine that the settings ask for.

A block is the unit of work and of random draws. Its size depends on the shapes and on the device's type alone, never on
what else the machine is doing, so the same generator gives the same weights everywhere.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pipeline.errors import Failure, UserError
from pipeline.shadow.batched import train_batched
from pipeline.shadow.gram import train_gram
from pipeline.shadow.heads import Head
from pipeline.shadow.loss import Targets
from pipeline.shadow.private import train_private
from pipeline.shadow.restart import restart_while_high
from pipeline.shadow.settings import Training

BLOCK_NUMBERS = {"cpu": 2**22, "cuda": 2**28}
"""Features, Gram matrices and weights of a block: 16 MiB stay near a core, 1 GiB fills a GPU."""


def train_shard(
    features: Tensor,
    indices: Tensor,
    labels: Tensor,
    training: Training,
    generator: torch.Generator,
    initial: Tensor | None = None,
    coefficients: Tensor | None = None,
    absent: Tensor | None = None,
) -> Tensor:
    """Trains one head on each training set of a shard.

    features: (n, D), the whole data set's, on the device that shall do the work; indices: (M, N), rows of `features`;
    labels: (M, N), classes. Returns weights (M, P) on the device of `features`, in the order of heads.Head. The
    generator, on the same device, draws the initial weights, unless `initial` (M, P) gives them. `coefficients` (M, R,
    N), where it is given, receives the C of first-layer weights α W'_0 + C X' (`training.in_sample_space`). absent
    (M,): the place in each set of a record that its head is trained without. Private training then keeps its divisor
    ⌊N·q⌋, since neighbours differ in the record alone; other training is that of the N − 1 images, and has no
    coefficients. Raises UserError for features that are not finite and for labels that are no class, Failure for a
    training that diverges or whose loss stays above `restart.loss_below`; each names the model.
    """
    if absent is not None and not training.private:
        indices, labels, absent = without(indices, absent), without(labels, absent), None
    if absent is not None and training.engine == "opacus":
        raise UserError("engine: opacus trains no neighbours without a record; use engine: auto")
    models, samples = indices.shape
    head = Head(features.shape[1], training.hidden, training.classes)
    check_labels(labels, training)
    dtype, device = getattr(torch, training.dtype), features.device
    indices, labels = indices.to(device), labels.to(device)
    weights = torch.empty(models, head.size, dtype=dtype, device=device)
    engine = engine_for(training, samples, generator)
    size = models_per_block(head, samples, device)
    gathered = features.new_empty(min(size, models) * samples, head.inputs)
    for start in range(0, models, size):
        block = slice(start, min(start + size, models))
        rows = indices[block].flatten()
        chosen = torch.index_select(features, 0, rows, out=gathered[: len(rows)]).to(dtype)
        chosen = chosen.view(-1, samples, head.inputs)
        targets = Targets.of(labels[block], head.outputs, training.positive_weight, dtype)
        own = weights[block]
        if initial is None:
            head.draw_initial(own, training, generator)
        else:
            own.copy_(initial[block])
        carried = {} if coefficients is None else {"coefficients_out": coefficients[block]}
        if absent is not None:
            carried["absent"] = absent[block].to(device)
        engine(chosen, targets, head.split(own), **carried)
        check_weights(own, chosen, first_model=start)
        if training.restart:
            restart_while_high(head, engine, chosen, targets, own, training, generator, first_model=start, **carried)
    return weights


def without(table: Tensor, absent: Tensor) -> Tensor:
    """(M, N − 1): each row of (M, N) without the column that `absent` (M,) names."""
    kept = torch.arange(table.shape[1]) != absent.cpu()[:, None]
    return table[kept.to(table.device)].view(len(table), -1)


def train_heads(
    features: Tensor, labels: Tensor, training: Training, generator: torch.Generator, initial: Tensor | None = None
) -> Tensor:
    """`train_shard` for features (M, N, D) that are already dealt."""
    models, samples, inputs = features.shape
    indices = torch.arange(models * samples).view(models, samples)
    return train_shard(features.reshape(-1, inputs), indices, labels, training, generator, initial)


def engine_for(training: Training, samples: int, generator: torch.Generator) -> Callable:
    """The function of (features, targets, parameters) that trains as described, in place."""
    if training.private is None:
        return partial(train_gram if training.optimizer == "sgd" else train_batched, training=training)
    from pipeline.shadow.accountant import stated_noise  # Opacus takes seconds to import; others need not wait

    if training.engine == "opacus":
        from pipeline.shadow.opacus_loop import train_with_opacus as train
    else:
        train = train_private
    noise = stated_noise(training.private, samples)
    return partial(train, training=training, noise_multiplier=noise, generator=generator)


def models_per_block(head: Head, samples: int, device: torch.device) -> int:
    return max(1, BLOCK_NUMBERS[device.type] // (samples * (head.inputs + samples) + head.size))


def check_labels(labels: Tensor, training: Training) -> None:
    classes = max(training.classes, 2)
    outside = ((labels < 0) | (labels >= classes)).any(1)
    if outside.any():
        raise UserError(f"model {first(outside)}: a label is outside the head's classes 0 … {classes - 1}")


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
