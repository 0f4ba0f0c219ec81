"""One trial: gradients of real images are exposed, an attack inverts them, and what it found is scored."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pipeline.evaluation.image_metrics import Metric, mean_squared_error, psnr, ssim
from pipeline.gradient_inversion.attack import Inversion
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.settings import ExposedGradient
from pipeline.gradient_inversion.step import Exposure, Gradient, gradients_of_steps


@dataclass(frozen=True)
class Exposed:
    """What the adversary sees of N steps, and what it does not: images (N, B, C, H, W) in [0, 1]."""

    gradient: Gradient
    exposure: Exposure
    images: Tensor


def expose(
    network: Chain, images: Tensor, labels: Tensor, described: ExposedGradient, generator: torch.Generator
) -> Exposed:
    """Gradients of a step on each of N batches, images (N, B, C, H, W) with labels (N, B), altered as described."""
    dtype, batch_size = getattr(torch, described.dtype), images.shape[1]
    exposure = Exposure(dtype, described.clip_norm, described.noise_multiplier, batch_size)
    labels = labels % 2 if len(network.head[-1].weight) == 1 else labels
    if described.clip_norm is None:
        gradient = exposure.rounded(gradients_of_steps(network.module, images, labels))
    else:
        alone = images.flatten(0, 1)[:, None], labels.flatten()[:, None]
        gradient = exposure.apply(gradients_of_steps(network.module, *alone), generator)
    return Exposed(gradient, exposure, images)


def score(exposed: Exposed, inversion: Inversion, lpips: Metric | None = None) -> dict[str, np.ndarray]:
    """Row by row of the N·B images: original, estimate; mse, psnr, ssim, lpips, success; residual, tolerance of its
    gradient. `lpips` is a metric of images in [-1, 1]; without one that column is NaN.

    The images of a batch come in no order; each original is paired with an estimate so that the sum of errors is least.
    Where an attack gave up, estimate and scores are NaN.
    """
    originals, order = exposed.images, _order(exposed.images, inversion.estimate)
    estimates = torch.stack([found[own] for found, own in zip(inversion.estimate, order, strict=True)])
    batch = originals.shape[1]
    scores = {
        "original": originals.float(),
        "estimate": estimates.float(),
        "mse": mean_squared_error(originals, estimates),
        "psnr": psnr(originals, estimates),
        "ssim": ssim(originals, estimates.clamp(0, 1)),
        "lpips": torch.full(originals.shape[:2], torch.nan),
    }
    if lpips:
        first, second = (2 * images.flatten(0, 1).float() - 1 for images in (originals, estimates.clamp(0, 1)))
        scores["lpips"] = lpips(first, second).view(originals.shape[:2])
    rows = {name: part.flatten(0, 1).numpy() for name, part in scores.items()}
    for name, part in {"residual": inversion.image_residual, "success": inversion.certified}.items():
        rows[name] = part.gather(1, order).flatten().numpy()
    return rows | {"tolerance": inversion.tolerance.repeat_interleave(batch).numpy()}


def _order(originals: Tensor, estimates: Tensor) -> Tensor:
    """(N, B) for each original the place of its estimate."""
    order = []
    for batch, found in zip(originals, estimates, strict=True):
        errors = mean_squared_error(batch[:, None], found[None]).nan_to_num(torch.inf).clamp(max=1e300)
        order.append(torch.from_numpy(linear_sum_assignment(errors.numpy())[1]))
    return torch.stack(order)
