"""Pre-training of a backbone: phases of Adam on cross-entropy (classes) or binary cross-entropy (attributes)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pipeline.data.sources import ImageSource
from pipeline.errors import Failure
from pipeline.networks.augmentation import augment
from pipeline.networks.backbones import Classifier, load_initial_weights, preprocess
from pipeline.networks.settings import Pretrain
from pipeline.networks.vgg_tiny import initialise
from pipeline.randomness import seed_for, torch_generator


def targets_of(source: ImageSource) -> torch.Tensor:
    """What a backbone learns: attributes (n, A) where the data have them, else classes (n,)."""
    return torch.as_tensor(source.labels if source.attributes is None else source.attributes.astype(np.float32))


def loss_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if targets.is_floating_point():
        return functional.binary_cross_entropy_with_logits(logits, targets)
    return functional.cross_entropy(logits, targets)


def initial_classifier(name: str, settings: Pretrain, source: ImageSource) -> Classifier:
    """An untrained top on a body with the initial weights that the settings name."""
    classes = int(source.labels.max()) + 1 if source.attributes is None else source.attributes.shape[1]
    generator = torch_generator(settings.seed, "pretrain", name, "initial")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        classifier = Classifier(name, classes, settings.dropout)
    initialise(classifier if settings.initial_weights == "random" else classifier.top, generator)
    load_initial_weights(classifier, settings.initial_weights)
    return classifier


def train_epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    source: ImageSource,
    settings: Pretrain,
    batch_size: int,
    epoch: int,
) -> float:
    """One pass in an order, with augmentations and dropout, drawn for this epoch alone; returns the mean loss."""
    device = next(classifier.parameters()).device
    generator = torch_generator(settings.seed, "pretrain", classifier.name, epoch)
    targets = targets_of(source)
    order = torch.randperm(len(source), generator=generator)
    classifier.train()
    total = 0.0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for(settings.seed, "pretrain", classifier.name, epoch, "dropout"))
        for batch in order.split(batch_size):
            images = preprocess(classifier.name, source.read(batch.numpy()).to(device))
            loss = loss_of(classifier(augment(images, settings.augmentation, generator)), targets[batch].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
    if not np.isfinite(total):
        raise Failure(
            f"pre-training diverged in epoch {epoch}: the loss is {total}; lower pretrain.phases learning_rate"
        )
    return total / len(source)


@torch.no_grad()
def accuracy(classifier: Classifier, source: ImageSource, batch_size: int = 512) -> float:
    """Fraction of classes (or of attributes) predicted rightly."""
    device = next(classifier.parameters()).device
    classifier.eval()
    targets, right = targets_of(source), 0.0
    for batch in torch.arange(len(source)).split(batch_size):
        logits = classifier(preprocess(classifier.name, source.read(batch.numpy()).to(device))).cpu()
        predicted = logits.argmax(1) if targets.ndim == 1 else (logits > 0).float()
        right += (predicted == targets[batch]).float().mean().item() * len(batch)
    return right / len(source)


def pretrain(
    classifier: Classifier,
    source: ImageSource,
    settings: Pretrain,
    *,
    resume: dict[str, Any] | None,
    after_epoch: Callable[[int, float, dict[str, Any]], None],
) -> list[float]:
    """Train through all phases; `after_epoch(epoch, loss, state)` may save `state`, and `resume` goes on from one."""
    losses: list[float] = resume["losses"] if resume else []
    if resume:
        classifier.load_state_dict(resume["classifier"])
    epoch = 0
    for phase in settings.phases:
        for parameter in classifier.body.parameters():
            parameter.requires_grad_(phase.train == "all")
        for layer in classifier.modules():  # as published: batch normalisation stays as its initial weights left it
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.requires_grad_(False)
        trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=phase.learning_rate, weight_decay=phase.weight_decay)
        if resume and epoch < len(losses) <= epoch + phase.epochs:
            optimizer.load_state_dict(resume["optimizer"])
        for _ in range(phase.epochs):
            epoch += 1
            if epoch <= len(losses):
                continue
            losses.append(train_epoch(classifier, optimizer, source, settings, phase.batch_size, epoch))
            state = {"classifier": classifier.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
            after_epoch(epoch, losses[-1], state)
    return losses
