"""Training of many heads at once in weight space, by any optimizer of torch.optim that treats every weight by itself.

The models' weights are stacked, so one optimizer steps them all, and gradients are closed forms: no autograd.
"""

import torch
from torch import Tensor

from pipeline.shadow import heads
from pipeline.shadow.batches import fixed_batches
from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training

OPTIMIZERS = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}


def train_batched(features: Tensor, targets: Targets, parameters: list[Tensor], training: Training) -> None:
    """Trains M heads in place for `training.epochs`; shapes as in gram.train_gram."""
    samples = features.shape[1]
    batches = [(features[:, rows], targets[..., rows]) for rows in fixed_batches(samples, training.batch_size)]
    own = [parameter.contiguous() for parameter in parameters]
    weight, bias, *upper = own
    options = {"weight_decay": training.weight_decay} if training.optimizer != "rprop" else {}
    optimizer = OPTIMIZERS[training.optimizer](own, lr=training.learning_rate, **options)
    for _ in range(training.epochs):
        for inputs, goals in batches:
            activations = heads.activate(heads.affine(weight, bias, inputs.mT), upper)
            slope = goals.slope(heads.logits(activations, upper)).mul_(len(batches) / samples)
            below = heads.backward(slope, activations, upper)
            gradients = [torch.bmm(below, inputs), below.sum(2), *heads.upper_gradients(slope, activations, upper)]
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    for parameter, trained in zip(parameters, own, strict=True):
        parameter.copy_(trained)
