"""Refinement of an estimate against a noisy gradient: the images whose own gradient fits it best, by least squares.

Levenberg-Marquardt on the images of one step: with r the difference between their gradient and the given one, each
coordinate in units of its error, and J its derivative by the images, a step d solves (JᵀJ + μ) d = −Jᵀr by conjugate
gradients; products with J and Jᵀ are derivatives of the gradient, and no matrix is formed. Steps stay within the range
of pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vjp

from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.step import Exposure, Gradient, training_loss

Residual = Callable[[Tensor], Tensor]


def refine(
    network: Chain,
    gradient: Gradient,
    start: Tensor,
    labels: Tensor,
    exposure: Exposure,
    *,
    pixel_range: tuple[float, float] = (0.0, 1.0),
    steps: int = 20,
    products: int = 40,
) -> Tensor:
    """Images (N, B, C, H, W) from `start`, shaped alike, for N gradients of batches with labels (N, B).

    Each of at most `steps` steps takes at most `products` products with J. Where a grey image fits better than `start`,
    as when noise has overwhelmed an estimate, the way begins there.
    """
    low, high = pixel_range
    refined = []
    for n, images in enumerate(start):
        given = {name: part[n].double() for name, part in gradient.items()}
        residual = _residual_of(network, given, labels[n], exposure)
        grey = torch.full_like(images, (low + high) / 2)
        begin = min(images.where(images.isfinite(), grey).clamp(low, high), grey, key=lambda x: residual(x).norm())
        refined.append(_levenberg_marquardt(residual, begin, pixel_range, steps, products))
    return torch.stack(refined)


def _residual_of(network: Chain, given: dict[str, Tensor], labels: Tensor, exposure: Exposure) -> Residual:
    """The function of images whose value is their exposed gradient less the given one, in units of its errors."""
    parameters = {name: value.detach() for name, value in network.module.named_parameters()}
    rounding = torch.finfo(exposure.dtype).eps
    noise = exposure.noise_std
    tiny = torch.finfo(torch.float64).tiny
    errors = {name: (noise**2 + part.square().mean() * rounding**2 + tiny).sqrt() for name, part in given.items()}

    def loss(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return training_loss(functional_call(network.module, weights, (images,)), labels)

    def clipped(image: Tensor, label: Tensor) -> dict[str, Tensor]:
        own = grad(loss)(parameters, image[None], label[None])
        norm = torch.stack([part.square().sum() for part in own.values()]).sum().sqrt()
        return {name: part * (exposure.clip_norm / norm).clamp(max=1) for name, part in own.items()}

    def residual(images: Tensor) -> Tensor:
        if exposure.clip_norm is None:
            own = grad(loss)(parameters, images, labels)
        else:
            each = [clipped(image, label) for image, label in zip(images, labels, strict=True)]
            own = {name: torch.stack([one[name] for one in each]).mean(0) for name in given}
        return torch.cat([((own[name] - given[name]) / errors[name]).flatten() for name in given])

    return residual


def _levenberg_marquardt(
    residual: Residual, images: Tensor, pixel_range: tuple[float, float], steps: int, products: int
) -> Tensor:
    damping = 1e-3
    value, pullback = vjp(residual, images)
    for _ in range(steps):
        descent = -pullback(value)[0]
        scale = _curvature(residual, images, descent)
        while damping < 1e6:
            step = _conjugate_gradients(residual, pullback, images, descent, damping * scale, products)
            trial = (images + step).clamp(*pixel_range)
            trial_value = residual(trial)
            if trial_value.square().sum() < value.square().sum():
                break
            damping *= 10
        else:
            return images
        gain = 1 - trial_value.square().sum() / value.square().sum()
        images, damping = trial, damping / 10
        if gain < 1e-4:
            return images
        value, pullback = vjp(residual, images)
    return images


def _curvature(residual: Residual, images: Tensor, direction: Tensor) -> Tensor:
    """vᵀJᵀJv / vᵀv in the direction of steepest descent: the scale of JᵀJ."""
    pushed = jvp(residual, (images,), (direction,))[1]
    return pushed.square().sum() / direction.square().sum()


def _conjugate_gradients(
    residual: Residual, pullback: Callable, images: Tensor, right: Tensor, damping: Tensor, products: int
) -> Tensor:
    """d of (JᵀJ + damping) d = right."""
    solution = torch.zeros_like(right)
    left, direction = right.clone(), right.clone()
    size = left.square().sum()
    goal = 1e-12 * size
    for _ in range(products):
        pushed = pullback(jvp(residual, (images,), (direction,))[1])[0] + damping * direction
        length = size / (direction * pushed).sum()
        solution = solution + length * direction
        left = left - length * pushed
        new_size = left.square().sum()
        if new_size < goal:
            break
        direction = left + (new_size / size) * direction
        size = new_size
    return solution
