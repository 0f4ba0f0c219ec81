"""The training loop of the reconstructor."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.checkpoint import Checkpoint
from pipeline.data.images import to_unit
from pipeline.errors import Failure, UserError
from pipeline.evaluation.min_mse import Scores
from pipeline.networks.decoders import Decoder
from pipeline.processes import ALONE, Processes
from pipeline.reconstruction.examples import ExamplesFrom
from pipeline.reconstruction.forward import averaged_over, compiled
from pipeline.reconstruction.losses import Perceptual, reconstruction_loss
from pipeline.reconstruction.precision import autocast, products, resolved
from pipeline.reconstruction.settings import Reconstructor as Settings
from pipeline.reconstruction.state import State
from pipeline.unattended import NO_CHECKPOINT, silent

LOOK_EVERY = 25
"""Steps after which the loss is looked at. Each look waits for the device, so not every step has one."""


class Board(Protocol):
    """Where scalars and pictures of a validation go, for people."""

    def show(self, step: int, scalars: dict[str, float], scores: Scores) -> None: ...


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then constant as published, or a half cosine down to zero."""
    warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps)) if settings.schedule == "cosine" else 1.0
    return settings.learning_rate * warm * fall


@dataclass(frozen=True)
class Lesson:
    """What a reconstructor is trained on, and by what.

    network     trained in place, on the device of `images`
    examples    `examples(step)` yields what that step and those after it show, on the device
    images      (n, C, S, S) uint8 of all images that examples name
    settings    `reconstructor:` of an experiment
    validate    scores a network on watched victims
    perceptual  the LPIPS term of the loss, where settings.lpips asks for one
    """

    network: Decoder
    examples: ExamplesFrom
    images: torch.Tensor
    settings: Settings
    validate: Callable[[Decoder], Scores]
    perceptual: Perceptual | None = None


def train_reconstructor(
    lesson: Lesson,
    *,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    progress: Callable[[int, int, str], None] = silent,
    processes: Processes = ALONE,
    board: Board | None = None,
) -> tuple[State, bool]:
    """Train on from a checkpoint if there is one; returns the final state, and whether the network was compiled.

    Raises Failure when the loss or a weight is not finite; the last good checkpoint stays.
    """
    network, images, settings = lesson.network, lesson.images, lesson.settings
    device, rows = images.device, settings.batch_size // processes.size
    if settings.batch_size % processes.size:
        raise UserError(f"reconstructor.batch_size {settings.batch_size} is not divided by {processes.size} processes")
    saved = checkpoint.load(device)
    if saved and saved["processes"] != processes.size:
        raise UserError(
            f"{checkpoint.path} was written by {saved['processes']} processes, and these are {processes.size}: "
            "start as many, or remove it to start over"
        )
    state = State(network, settings, saved["precision"] if saved else resolved(settings.precision, device), device)
    if saved:
        state.load(saved)
    narrowed = autocast(state.precision, device)
    forward, is_compiled = averaged_over(processes, network.train(), device), False
    with products(state.precision, device):
        if settings.compile:
            forward, is_compiled = compiled(forward, network, rows, narrowed, device)
        stream = lesson.examples(state.step)

        while state.step < settings.steps:
            shown = next(stream)
            candidates = to_unit(images[shown.candidates])
            with narrowed:
                rebuilt = forward(shown.inputs, shown.label)
                loss = reconstruction_loss(
                    rebuilt, candidates, settings.softmin_sharpness, lesson.perceptual, settings.absolute_error
                )
            state.update(loss, learning_rate(settings, state.step))

            finished = state.step == settings.steps
            if state.step % settings.validate_every == 0 or finished:
                _validate(state, lesson.validate, checkpoint, board)
            if state.step % LOOK_EVERY == 0 or finished:
                watched = state.history["validation"]
                score = f", watched min-MSE {watched[-1]:.4f}" if watched else ""
                progress(state.step, settings.steps, f"loss {_finite(loss.item(), state, checkpoint):.4f}{score}")
            checkpoint.offer(lambda: {**_good(state, checkpoint), "processes": processes.size})
    return state, is_compiled


def _validate(state: State, validate: Callable[[Decoder], Scores], checkpoint: Checkpoint, board: Board | None) -> None:
    steps = state.step - (state.history["step"][-1] if state.history["step"] else 0)
    loss = _finite(state.loss_sum.item() / steps, state, checkpoint)
    scores = validate(state.eval_network)
    state.network.train()
    state.note(loss, float(scores.distances.mean()))
    state.loss_sum = torch.zeros_like(state.loss_sum)
    if board:
        rate = learning_rate(state.settings, state.step - 1)
        board.show(state.step, {"loss": loss, "min-MSE": state.history["validation"][-1], "rate": rate}, scores)


def _good(state: State, checkpoint: Checkpoint) -> dict:
    """The state to be saved, unless it is past saving."""
    _finite(state.loss_sum.item() if state.finite else math.nan, state, checkpoint)
    return state.saved()


def _finite(loss: float, state: State, checkpoint: Checkpoint) -> float:
    if not math.isfinite(loss):
        raise Failure(
            f"the reconstructor diverged: loss {loss} at step {state.step}; lower reconstructor.learning_rate"
            + (f" (the last good state stays in {checkpoint.path})" if checkpoint.path.exists() else "")
        )
    return loss
