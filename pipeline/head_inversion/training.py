"""Learning to invert the heads of one recipe: which estimator of the coefficients, and what it then recovers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure
from pipeline.head_inversion.inversion import HEADS_AT_ONCE, HeadInversion, Recovered
from pipeline.head_inversion.prior import Prior
from pipeline.head_inversion.settings import HeadInversion as Settings
from pipeline.head_inversion.slots import Slots
from pipeline.randomness import torch_generator
from pipeline.shadow.heads import Head

WARMING = 0.4
"""Share of the steps in which only C is learnt; after it the error of the features counts, through the solve."""
COEFFICIENTS_WEIGHT = 0.3
CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-4
ENOUGH = 0.015
"""A closed form that recovers all but so much of the cosine that the true coefficients give is left as it is."""
FEWEST_TO_SCALE = 2000


@dataclass(frozen=True)
class Heads:
    """M heads with the answer: weights (M, P), coefficients C (M, R, N) and features (M, N, d), both slot by slot."""

    weights: Tensor
    coefficients: Tensor
    features: Tensor

    @classmethod
    def of(cls, slots: Slots, weights: Tensor, indices: Tensor, coefficients: Tensor, features: Tensor) -> "Heads":
        """indices (M, N) and coefficients (M, R, N) as dealt; `features` (n, d) of all images, in the prior's
        coordinates."""
        order = slots.order(coefficients)
        sorted_coefficients = coefficients.gather(2, order[:, None].expand_as(coefficients))
        return cls(weights, sorted_coefficients, features[indices.gather(1, order)])


@dataclass(frozen=True)
class Measured:
    """What an inversion recovers of heads whose features are known, slot by slot (M, N).

    cosine of centred features with the true ones; squared error found, and the one that the posterior expects.
    """

    cosine: Tensor
    found: Tensor
    expected: Tensor


def compare(inversion: HeadInversion, recovered: Recovered, features: Tensor) -> Measured:
    """`features` (M, N, d): the true ones, slot by slot."""
    cosine = functional.cosine_similarity(recovered.mean - inversion.means, features - inversion.means, dim=2)
    found = (recovered.mean - features).square().sum(2)
    return Measured(cosine, found, recovered.variance.sum(2))


@torch.no_grad()
def with_true_coefficients(inversion: HeadInversion, heads: Heads) -> Measured:
    """What the posterior recovers when C is known: as far as the linear inversion goes."""
    parts = []
    for rows in torch.arange(len(heads.weights)).split(HEADS_AT_ONCE):
        layer, _ = inversion.read(heads.weights[rows])
        parts.append(inversion.solve(layer, layer.arrange(heads.coefficients[rows]), 1.0))
    recovered = Recovered(torch.cat([p.mean for p in parts]), torch.cat([p.variance for p in parts]))
    return compare(inversion, recovered, heads.features)


def measure(inversion: HeadInversion, heads: Heads) -> Measured:
    return compare(inversion, inversion.invert(heads.weights), heads.features)


def calibrate(inversion: HeadInversion, heads: Heads) -> None:
    """Scale each slot's variance to the error that held-out heads show: it then counts the errors of C too."""
    inversion.calibration.fill_(1.0)
    measured = measure(inversion, heads)
    inversion.calibration.copy_(measured.found.mean(0) / measured.expected.mean(0).clamp(min=1e-30))


def fit_scales(inversion: HeadInversion, heads: Iterator[Heads]) -> None:
    """Moments of statistics and coefficients over a few thousand shadow models."""
    read, coefficients, count = [], [], 0
    while count < FEWEST_TO_SCALE:
        some = next(heads)
        rows, numbers = inversion.read(some.weights)
        read.append(numbers)
        coefficients.append(rows.arrange(some.coefficients))
        count += len(numbers)
    inversion.estimator.fit_scales(torch.cat(read), torch.cat(coefficients))


def train_estimator(
    inversion: HeadInversion,
    heads: Callable[[int], Iterator[Heads]],
    settings: Settings,
    *,
    purpose: tuple[str | int, ...],
    checkpoint: Checkpoint,
    progress: Callable[[int, int, str], None],
) -> list[float]:
    """Train the estimator's network in place, on from a checkpoint if there is one; returns its loss, every tenth part.

    `heads(step)` yields batches from that step on. AdamW with a half cosine; first the error of C, then mostly that of
    the whitened features, whose gradient goes through the posterior's solve. Raises Failure when a loss is not finite.
    """
    estimator = inversion.estimator
    optimizer = torch.optim.AdamW(estimator.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    saved = checkpoint.load(inversion.noise.device)
    step, history = 0, []
    if saved:
        inversion.load_state_dict(saved["inversion"])
        optimizer.load_state_dict(saved["optimizer"])
        step, history = saved["step"], saved["history"]
    else:
        estimator.initialise(torch_generator(*purpose, "initial"))
        fit_scales(inversion, heads(0))
    batches, state = heads(step), {"inversion": inversion, "optimizer": optimizer}
    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        some = next(batches)
        rows, read = inversion.read(some.weights)
        estimated, factor = estimator(read)
        loss = estimator.error(estimated, rows.arrange(some.coefficients))
        if step >= WARMING * settings.steps:
            recovered = inversion.solve(rows, estimated, factor)
            missed = ((recovered.mean - some.features) * inversion.whitening).square().mean()
            loss = COEFFICIENTS_WEIGHT * loss + (1 - COEFFICIENTS_WEIGHT) * missed
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(estimator.parameters(), CLIP_NORM)
        optimizer.step()
        step += 1
        if step % max(1, settings.steps // 10) == 0 or step == settings.steps:
            if not math.isfinite(loss.item()):
                raise Failure(
                    f"the estimator of coefficients diverged: loss {loss.item()} at step {step}; lower "
                    "head_inversion.learning_rate"
                )
            history.append(loss.item())
            progress(step, settings.steps, f"loss {history[-1]:.4f}")
        position = {"step": step, "history": history}
        checkpoint.offer(lambda position=position: {name: part.state_dict() for name, part in state.items()} | position)
    return history


def learn_inversion(
    prior: Prior,
    slots: Slots,
    head: Head,
    noise: float,
    held_out: Heads,
    heads: Callable[[int], Iterator[Heads]],
    settings: Settings,
    *,
    purpose: tuple[str | int, ...],
    checkpoint: Checkpoint,
    progress: Callable[[int, int, str], None],
) -> tuple[HeadInversion, dict[str, float], list[float]]:
    """The inversion that recovers most of the `held_out` heads, calibrated on them; facts about the choice; losses.

    The mean coefficients are kept where they come within ENOUGH of what the true ones would give. Elsewhere a network
    is trained, and kept if it recovers more. `noise` is ν of posterior.py.
    """
    device = held_out.weights.device
    by_mean = HeadInversion(prior, slots, head, noise, 0).to(device)
    fit_scales(by_mean, heads(0))
    cosines = {
        "cosine_with_true_coefficients": float(with_true_coefficients(by_mean, held_out).cosine.mean()),
        "cosine_with_mean_coefficients": float(measure(by_mean, held_out).cosine.mean()),
    }
    inversion, losses = by_mean, []
    if cosines["cosine_with_true_coefficients"] - cosines["cosine_with_mean_coefficients"] > ENOUGH:
        trained = HeadInversion(prior, slots, head, noise, settings.width).to(device)
        losses = train_estimator(trained, heads, settings, purpose=purpose, checkpoint=checkpoint, progress=progress)
        cosines["cosine_with_trained_estimator"] = float(measure(trained, held_out).cosine.mean())
        if cosines["cosine_with_trained_estimator"] > cosines["cosine_with_mean_coefficients"]:
            inversion = trained
    calibrate(inversion, held_out)
    return inversion, cosines, losses
