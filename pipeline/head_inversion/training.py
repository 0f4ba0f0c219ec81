"""Learning to invert the heads of one recipe, on shadow models; and measuring what is then recovered of others."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure, UserError
from pipeline.head_inversion.inversion import HEADS_AT_ONCE, HeadInversion, Recovered
from pipeline.head_inversion.settings import HeadInversion as Settings
from pipeline.head_inversion.slots import Slots
from pipeline.randomness import torch_generator
from pipeline.unattended import NO_CHECKPOINT, silent

WEIGHT_DECAY = 1e-2
SCALES_FASTER = 20.0
"""The few scales of a round (Λ, τ, variances) learn so many times faster than its network, and without decay."""
CLIP_NORM = 1.0
"""Of the correcting networks' gradient: without it, features come out worse (benchmarks/head_inversion.py)."""
HEADS_FOR_MEAN = 2000
HEADS_TO_CALIBRATE = 2000
HELD_OUT_SHARE = 0.05
"""Of the adversary's images of every class: nothing learns from them, and the expected error is calibrated on them."""
IMAGES_OF_ALL = 10
"""What all slots together say of the error counts for each slot like so many held-out images of its own."""
LOOK_EVERY = 50


@dataclass(frozen=True)
class Heads:
    """M heads with the answer: weights (M, P); slot by slot coefficients C (M, R, N), features (M, N, d) and whether an
    image is held out of learning (M, N)."""

    weights: Tensor
    coefficients: Tensor
    features: Tensor
    held_out: Tensor

    @classmethod
    def of(
        cls,
        slots: Slots,
        weights: Tensor,
        indices: Tensor,
        coefficients: Tensor,
        features: Tensor,
        held_out: Tensor | None = None,
    ) -> "Heads":
        """indices (M, N) and coefficients (M, R, N) as dealt; of all images `features` (n, d), in the prior's
        coordinates, and `held_out` (n,), none = all teach."""
        order = slots.order(coefficients)
        sorted_coefficients = coefficients.gather(2, order[:, None].expand_as(coefficients))
        images = indices.gather(1, order)
        if held_out is None:
            held_out = torch.zeros(len(features), dtype=torch.bool, device=features.device)
        return cls(weights, sorted_coefficients, features[images], held_out[images])


@dataclass(frozen=True)
class Measured:
    """What is recovered of heads whose features are known, slot by slot (M, N): the cosine of centred features with the
    true ones, and the mean squared error, whitened, that is found and that was expected."""

    cosine: Tensor
    found: Tensor
    expected: Tensor


def compare(inversion: HeadInversion, recovered: Recovered, features: Tensor) -> Measured:
    """`features` (M, N, d): the true ones, slot by slot."""
    true = inversion.whiten(features)
    unwhitened = (part / inversion.whitening for part in (recovered.features, true))
    cosine = functional.cosine_similarity(*unwhitened, dim=2)
    return Measured(cosine, (recovered.features - true).square().mean(2), recovered.error)


def measure(inversion: HeadInversion, heads: Heads) -> Measured:
    return compare(inversion, inversion.invert(heads.weights), heads.features)


def measure_shard(
    inversion: HeadInversion, shard: Mapping[str, np.ndarray], features: np.ndarray
) -> dict[str, np.ndarray]:
    """`measure` of the heads in a shard of shadow models; features (n, D) of the images that it deals."""
    device = inversion.noise.device
    weights, indices, coefficients = (
        torch.as_tensor(shard[name]).to(device) for name in ("weights", "indices", "coefficients")
    )
    projected = torch.as_tensor(features).to(device) @ inversion.directions
    heads = Heads.of(inversion.slots, weights.float(), indices.long(), coefficients, projected)
    return {name: tensor.cpu().numpy() for name, tensor in vars(measure(inversion, heads)).items()}


@torch.no_grad()
def measure_posterior(inversion: HeadInversion, heads: Heads, coefficients: Tensor) -> Measured:
    """The Gaussian posterior alone, for given coefficients (M, R, N) or (R, N): the closed form."""
    parts = []
    for rows in torch.arange(len(heads.weights), device=heads.weights.device).split(HEADS_AT_ONCE):
        layer = inversion.rows(heads.weights[rows])
        given = coefficients.expand(len(rows), -1, -1) if coefficients.ndim == 2 else coefficients[rows]
        features, variance = inversion.given(layer, given if coefficients.ndim == 2 else layer.arrange(given))
        parts.append((features, variance.mean(2)))
    return compare(inversion, Recovered(*map(torch.cat, zip(*parts, strict=True))), heads.features)


def hold_out(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n,) which of the images with these labels (n,) nothing learns from: HELD_OUT_SHARE of every class, at least
    one; of a class with one image none."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            chosen[generator.choice(members, max(1, round(HELD_OUT_SHARE * len(members))), replace=False)] = True
    return chosen


def calibrate(inversion: HeadInversion, heads: Iterator[Heads]) -> int:
    """Scale each slot's expected error to that found of held-out images, and learn which heads are usual; returns on
    how many images, each counted as often as a head has it.

    A slot's factor is Σ found / Σ expected over its held-out images and, as IMAGES_OF_ALL more, those of all slots.
    """
    inversion.calibration.fill_(1.0)
    inversion.usual_distance.fill_(torch.inf)
    parts, traits, count = [], [], 0
    while count < HEADS_TO_CALIBRATE:
        some = next(heads)
        measured, mask = measure(inversion, some), some.held_out
        parts.append(torch.stack([(mask * table).sum(0) for table in (measured.found, measured.expected, mask)]))
        traits.append(inversion.traits(some.weights))
        count += len(some.weights)
    found, expected, images = torch.stack(parts).double().sum(0)
    inversion.set_usual(torch.cat(traits))
    if not images.any():
        raise UserError("head inversion: no class has two images, so none can be held out to calibrate the error on")
    of_all = IMAGES_OF_ALL / images.sum()
    factors = (found + of_all * found.sum()) / (expected + of_all * expected.sum())
    inversion.calibration.copy_(factors)
    return int(images.sum())


def set_mean_coefficients(inversion: HeadInversion, heads: Iterator[Heads]) -> None:
    """Over a few thousand shadow models."""
    parts, count = [], 0
    while count < HEADS_FOR_MEAN:
        some = next(heads)
        parts.append(inversion.rows(some.weights).arrange(some.coefficients).mean(0))
        count += len(some.weights)
    inversion.mean_coefficients.copy_(torch.stack(parts).mean(0))


def train_rounds(
    inversion: HeadInversion,
    heads: Callable[[int], Iterator[Heads]],
    settings: Settings,
    *,
    purpose: tuple[str | int, ...],
    checkpoint: Checkpoint = NO_CHECKPOINT,
    progress: Callable[[int, int, str], None] = silent,
) -> list[float]:
    """Train all rounds together, in place, on from a checkpoint if there is one; returns the loss, now and then.

    `heads(step)` yields batches from that step on. The loss is the squared error, whitened, after every correction and
    every solve, the gradient going through all that came before. AdamW with a half cosine. Raises Failure when the loss
    is not finite.
    """
    device = inversion.noise.device
    scales = [parameter for one in inversion.rounds for parameter in one.scales]
    networks = [parameter for one in inversion.rounds for parameter in one.correct.parameters()]
    groups = [
        {"params": [*networks, *inversion.judge.parameters()], "weight_decay": WEIGHT_DECAY, "faster": 1.0},
        {"params": scales, "weight_decay": 0.0, "faster": SCALES_FASTER},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    saved = checkpoint.load(device)
    step, losses = 0, []
    if saved:
        inversion.load_state_dict(saved["inversion"])
        optimizer.load_state_dict(saved["optimizer"])
        step, losses = saved["step"], saved["losses"]
    else:
        inversion.initialise(torch_generator(*purpose, "initial"))
        set_mean_coefficients(inversion, heads(0))
    narrowed = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    stream, parts = heads(step), {"inversion": inversion, "optimizer": optimizer}
    while step < settings.steps:
        rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["faster"]
        loss = loss_of(inversion, next(stream), narrowed)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(networks, CLIP_NORM)
        optimizer.step()
        step += 1
        if step % LOOK_EVERY == 0 or step == settings.steps:
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise Failure(
                    f"learning to invert heads diverged: loss {losses[-1]} at step {step}; lower "
                    "head_inversion.learning_rate"
                )
            progress(step, settings.steps, f"loss {losses[-1]:.4f}")
        position = {"step": step, "losses": losses}
        checkpoint.offer(lambda position=position: {name: part.state_dict() for name, part in parts.items()} | position)
    return losses


def loss_of(inversion: HeadInversion, heads: Heads, narrowed: torch.autocast) -> Tensor:
    """Over the images that teach; those held out count for nothing."""
    true, total = inversion.whiten(heads.features), 0.0
    share = (~heads.held_out).float()
    share /= share.sum().clamp(min=1)
    for features, _, log_error in inversion.steps(heads.weights, narrowed):
        error = (features - true).square().mean(2)
        total = total + (share * error).sum()
        if log_error is not None:
            total = total + (share * (log_error + error.detach() / log_error.exp())).sum()
    return total
