"""The training loop of the reconstructor."""

import math
from collections.abc import Callable, Iterator

import torch

from pipeline.checkpoint import Checkpoint
from pipeline.data.images import to_unit
from pipeline.errors import Failure
from pipeline.networks.reconstructor import Reconstructor
from pipeline.randomness import torch_generator
from pipeline.reconstruction.losses import Perceptual, reconstruction_loss
from pipeline.reconstruction.settings import Reconstructor as Settings
from pipeline.statistics import Standardisation

REPORT_EVERY = 100

Batches = Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then constant as published, or a half cosine down to zero."""
    warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps)) if settings.schedule == "cosine" else 1.0
    return settings.learning_rate * warm * fall


def train_reconstructor(
    network: Reconstructor,
    batches: Batches,
    images: torch.Tensor,
    groups_of: Callable[[torch.Tensor], torch.Tensor],
    standardise: Standardisation,
    settings: Settings,
    *,
    purpose: tuple[str | int, ...],
    perceptual: Perceptual | None,
    validate: Callable[[Reconstructor], float],
    checkpoint: Checkpoint,
    progress: Callable[[int, int, str], None],
) -> dict[str, list[float]]:
    """Train in place; returns {step, loss, validation}: the mean loss and the validation score every so many steps.

    `batches(step)` yields (weights (B, P), indices (B, N)) from that step on; `images` (n, C, S, S) uint8 stay on the
    device; `groups_of` makes the (B, G, J) candidates of each group from the indices. A conditional network is shown a
    random one of each model's groups (a class), an unconditional one the only group.
    """
    device = images.device
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    history: dict[str, list[float]] = {"step": [], "loss": [], "validation": []}
    start, running = 0, torch.zeros((), device=device)
    if state := checkpoint.load(device):
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        start, running, history = state["step"], state["running"], state["history"]
    network.train()
    stream = batches(start)
    for step in range(start, settings.steps):
        weights, indices = next(stream)
        groups = groups_of(indices)
        label = None
        if network.classes:
            label = torch.randint(groups.shape[1], (len(groups),), generator=torch_generator(*purpose, step))
            groups = groups[torch.arange(len(groups)), label]
            label = label.to(device)
        candidates = to_unit(images[groups.view(len(groups), -1).to(device)])
        rebuilt = network(standardise.apply(weights.to(device)), label)
        loss = reconstruction_loss(rebuilt, candidates, settings.softmin_sharpness, perceptual)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        running += loss.detach()

        done = step + 1
        if done % settings.validate_every == 0 or done == settings.steps:
            since = done - (history["step"][-1] if history["step"] else 0)
            history["step"].append(done)
            history["loss"].append(_finite(running.item() / since, done, checkpoint))
            history["validation"].append(validate(network))
            network.train()
            running = torch.zeros((), device=device)
        if done % REPORT_EVERY == 0 or done == settings.steps:
            score = f", held-out min-MSE {history['validation'][-1]:.4f}" if history["validation"] else ""
            progress(done, settings.steps, f"loss {_finite(loss.item(), done, checkpoint):.4f}{score}")

        def state(done: int = done, running: torch.Tensor = running) -> dict:
            _finite(running.item(), done, checkpoint)
            parts = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            return {**parts, "step": done, "running": running, "history": history}

        checkpoint.offer(state)
    return history


def _finite(loss: float, step: int, checkpoint: Checkpoint) -> float:
    if not math.isfinite(loss):
        raise Failure(
            f"the reconstructor diverged: loss {loss} at step {step}; lower reconstructor.learning_rate "
            f"(the last good state stays in {checkpoint.path})"
        )
    return loss
