"""What a convolution's weight gradient says about its input (R-CONV, §3.3), phase by phase.

∂ℓ/∂W[f, c, u, v] = Σ_b Σ_ij G[b, f, i, j] · x[b, c, s·i + u − p, s·j + v − p], with G = ∂ℓ/∂(convolution's output).
The matrix is the same for every channel c, and a tap (u, v) touches only the pixels of one residue class modulo the
stride: the system falls into s_y·s_x independent phases, each solved for all channels at once.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.gradient_inversion.layers import Convolution


@dataclass(frozen=True)
class Phase:
    """One residue class: T taps that touch P pixels; a pixel that nothing depends on is in no phase."""

    taps: Tensor
    """(T,) flat indices into kh × kw."""
    pixels: Tensor
    """(P,) flat indices into H × W."""
    reach: Tensor
    """(T, P) the output position through which a tap sees a pixel, flat in Ho × Wo; Ho·Wo where there is none."""


@lru_cache(maxsize=64)
def phases(convolution: Convolution) -> tuple[Phase, ...]:
    (_, height, width), (_, out_height, out_width) = convolution.input_shape, convolution.output_shape
    kernel_height, kernel_width = convolution.weight.shape[-2:]
    nowhere = out_height * out_width
    positions = torch.arange(nowhere).where(convolution.read_outputs.flatten(), nowhere)
    useful = torch.cat([positions, torch.tensor([nowhere])])
    found = []
    for taps_y, rows, reach_y in _phases_of_axis(
        height, out_height, kernel_height, convolution.stride[0], convolution.padding[0]
    ):
        for taps_x, columns, reach_x in _phases_of_axis(
            width, out_width, kernel_width, convolution.stride[1], convolution.padding[1]
        ):
            reach = reach_y[:, None, :, None] * out_width + reach_x[None, :, None, :]
            reach = reach.where((reach_y >= 0)[:, None, :, None] & (reach_x >= 0)[None, :, None, :], nowhere)
            reach = useful[reach]
            taps = (taps_y[:, None] * kernel_width + taps_x).flatten()
            pixels = (rows[:, None] * width + columns).flatten()
            reach = reach.flatten(2).flatten(0, 1)
            read = (reach < nowhere).any(0)
            found.append(Phase(taps, pixels[read], reach[:, read]))
    return tuple(found)


def _phases_of_axis(size: int, out_size: int, kernel: int, stride: int, padding: int):
    """Yields (taps, pixels, reach) of each residue class along one axis; reach is −1 where a tap misses a pixel."""
    for residue in range(min(stride, size)):
        pixels = torch.arange(residue, size, stride)
        taps = torch.tensor([u for u in range(kernel) if (residue + padding - u) % stride == 0], dtype=torch.long)
        reach = (pixels[None, :] + padding - taps[:, None]) // stride
        yield taps, pixels, reach.where((reach >= 0) & (reach < out_size), -1)


def phase_matrix(phase: Phase, gradient: Tensor) -> Tensor:
    """A(G) of one phase, (N, F·T, B·P), from the gradient at the convolution's output (N, B, F, Ho, Wo)."""
    padded = torch.cat([gradient.flatten(3), gradient.new_zeros(*gradient.shape[:3], 1)], -1)
    matrix = padded[..., phase.reach]
    return matrix.permute(0, 2, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def phase_target(phase: Phase, weight_gradient: Tensor) -> Tensor:
    """The right-hand sides of one phase for every channel, (N, F·T, C), from ∂ℓ/∂W (N, F, C, kh, kw)."""
    return weight_gradient.flatten(3)[..., phase.taps].permute(0, 1, 3, 2).flatten(1, 2)


def place(phase: Phase, solution: Tensor, images: Tensor) -> None:
    """Writes the pixels of one phase, (N, B·P, C), into images (N, B, C, H, W)."""
    by_image = solution.unflatten(1, (images.shape[1], len(phase.pixels))).transpose(2, 3)
    images.view(*images.shape[:3], -1)[..., phase.pixels] = by_image
