"""What methods share that optimise a dummy image until its gradient is like the given one."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.gradient_inversion.attack import Inversion, check_gradient
from pipeline.gradient_inversion.certificate import certify
from pipeline.gradient_inversion.labels import infer_labels
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.step import Exposure, Gradient, count

Reconstruct = Callable[[list[Tensor], Tensor], Tensor]
"""(one gradient in the order of the network's parameters, label (1,)) → image (1, C, H, W)."""


def invert_one_by_one(
    network: Chain, gradient: Gradient, reconstruct: Reconstruct, exposure: Exposure | None = None
) -> Inversion:
    """Inverts N gradients of single images, one after the other. Labels are inferred as iDLG does."""
    start = time.perf_counter()
    check_gradient(network, gradient)
    exposure = exposure or Exposure(dtype=next(iter(gradient.values())).dtype)
    exact = {name: part.double() for name, part in gradient.items()}
    labels = infer_labels(network, exact)
    images = torch.stack(
        [reconstruct([part[n] for part in exact.values()], labels[n : n + 1]) for n in range(count(gradient))]
    )
    residual, labels = certify(network, exact, images, labels[:, None], exposure)
    tolerance = exposure.precision(exact).sqrt()
    return Inversion(images, labels, residual, tolerance, None, time.perf_counter() - start)


def dummy(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """(1, *shape) from N(0, 1), to be optimised."""
    return torch.randn(1, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
