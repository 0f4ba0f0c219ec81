"""What a convolution's weights say about its input: conv(x, W) = pre-activation − bias (R-CONV, §3.4).

The matrix M of this system is fixed by the network, and it is banded when pixels are taken row by row. Its triangular
factor is computed once, and every image costs two block substitutions. Directions that M nearly loses are found once
as well, so that the gradient constraints can settle them.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor

from pipeline.gradient_inversion.layers import Convolution
from pipeline.randomness import numpy_generator

WEAK_DIRECTIONS = (8, 32, 128, 512)
"""How many of M's weakest right singular directions are looked at, until not all of them are weak."""
WEAK = 1e-3
"""A direction is weak when M shrinks it by this factor more than its strongest one."""
SMALLEST_PIVOT = 1e-9
"""A column that M loses altogether gets this share of ‖M‖ as pivot, and shows as a weak direction."""


@dataclass(frozen=True)
class WeightFactor:
    """MᵀM = RᵀR with R upper triangular, stored by rows of the image, and the weakest right singular vectors of M."""

    convolution: Convolution
    blocks: tuple[np.ndarray, ...]
    """One per row of the input image: (W·C, its width of the band), upper triangular in its first W·C columns."""
    weak: Tensor
    """(r, C, H, W) orthonormal weak directions, strongest first."""
    weak_values: Tensor
    """(r,) their singular values."""
    condition: float
    """Of M outside the weak directions; vast where it loses more directions than are kept."""

    def solve(self, rows: Tensor, refinements: int = 3) -> Tensor:
        """Least-squares inputs (…, C, H, W), without weak directions, of pre-activations less bias (…, *value_shape).

        Semi-normal equations x = R⁻¹R⁻ᵀMᵀy, with steps of refinement on the residual to undo the squared condition.
        What they say of weak directions is magnified rounding, and removed at every step.
        """
        images = self._normal(self.convolution.rows_adjoint(rows))
        for _ in range(refinements):
            images = images + self._normal(self.convolution.rows_adjoint(rows - self.convolution.rows(images)))
        return images

    def directions(self, doubted: Tensor) -> Tensor:
        """Orthonormal directions (r, C, H, W): the weak ones, and those that doubted pre-activations (mask) decide."""
        where = doubted.nonzero()
        if not len(where):
            return self.weak
        rows = torch.zeros(len(where), *doubted.shape, dtype=torch.float64)
        rows[torch.arange(len(where)), *where.T] = 1
        opened = self.solve(rows).flatten(1)
        weak = self.weak.flatten(1)
        both = torch.cat([weak, opened / opened.norm(dim=1, keepdim=True)])
        return torch.linalg.qr(both.T).Q.T.unflatten(1, self.convolution.input_shape)

    def _normal(self, images: Tensor) -> Tensor:
        """(RᵀR)⁻¹ applied to images (…, C, H, W), without the weak directions."""
        solved = _images(_substitute(self.blocks, _columns(images)), images).flatten(-3)
        weak = self.weak.flatten(1)
        for _ in range(2):
            solved = solved - (solved @ weak.T) @ weak
        return solved.view_as(images)


@lru_cache(maxsize=8)
def weight_factor(convolution: Convolution) -> WeightFactor:
    """Factors a convolution's weight constraints; at least as many rows as unknowns are assumed.

    Costs about 2·H·(Wo·F + k·W·C)·(k·W·C)² operations, once per layer and process.
    """
    blocks, strongest = _banded_triangle(convolution)
    for count in WEAK_DIRECTIONS:
        directions, values = _weakest_directions(convolution, blocks, count)
        if values[0] >= WEAK * strongest:
            break
    weak = values < WEAK * strongest
    faintest = values[0] if weak.all() else values[~weak][-1]
    return WeightFactor(convolution, blocks, directions[weak], values[weak], strongest / float(faintest))


def _weakest_directions(convolution: Convolution, blocks: tuple[np.ndarray, ...], count: int) -> tuple[Tensor, Tensor]:
    """The `count` weakest right singular vectors of M (r, C, H, W) and their singular values (r,), strongest first.

    Block inverse iteration with the factor, then the singular value decomposition of M on the block.
    """
    shape = convolution.input_shape
    size = prod(shape)
    directions = numpy_generator("weak directions").standard_normal((size, min(count, size)))
    for _ in range(6):
        directions = np.linalg.qr(_substitute(blocks, directions))[0]
    basis = _images(directions, torch.empty(directions.shape[1], *shape, dtype=torch.float64))
    _, values, rotation = torch.linalg.svd(convolution.rows(basis).flatten(1).T, full_matrices=False)
    return torch.einsum("rk,kchw->rchw", rotation, basis), values


def _banded_triangle(convolution: Convolution) -> tuple[tuple[np.ndarray, ...], float]:
    """R of M = QR by rows of the output image, each reaching only a few rows of the input; and ‖M‖₂, estimated."""
    channels, height, width = convolution.input_shape
    kernel_height = convolution.rows_kernel.shape[2]
    out_height = convolution.value_shape[1]
    row_size = width * channels
    strongest = _largest_singular_value(convolution)
    blocks: list[np.ndarray] = []
    carried = np.zeros((0, 0))
    for i in range(out_height):
        top = i * convolution.rows_stride[0] - convolution.padding[0]
        first = len(blocks)
        bottom = max(min(top + kernel_height, height), first)
        band = (bottom - first) * row_size
        rows = np.zeros((carried.shape[0], max(band, carried.shape[1])))
        rows[:, : carried.shape[1]] = carried
        new = _matrix_of_output_row(convolution, i, first, bottom)
        carried = np.linalg.qr(np.vstack([rows, np.pad(new, ((0, 0), (0, rows.shape[1] - new.shape[1])))]), mode="r")
        settled = height if i + 1 == out_height else min(max(top + convolution.rows_stride[0], 0), height)
        while len(blocks) < settled:
            block = np.zeros((row_size, max(carried.shape[1], row_size)))
            part = carried[:row_size]
            block[: part.shape[0], : part.shape[1]] = part
            pivots = np.einsum("ii->i", block[:, :row_size])
            pivots[np.abs(pivots) < SMALLEST_PIVOT * strongest] = SMALLEST_PIVOT * strongest
            blocks.append(block)
            carried = carried[row_size:, row_size:]
    return tuple(blocks), strongest


def _matrix_of_output_row(convolution: Convolution, i: int, first: int, bottom: int) -> np.ndarray:
    """The rows of M that make output row i, on the columns of input rows first … bottom−1: (Wo·F, rows·W·C)."""
    channels, _, width = convolution.input_shape
    filters, _, out_width = convolution.value_shape
    kernel = convolution.rows_kernel.numpy()
    top = i * convolution.rows_stride[0] - convolution.padding[0]
    matrix = np.zeros((out_width, filters, bottom - first, width, channels))
    for j in range(out_width):
        left = j * convolution.rows_stride[1] - convolution.padding[1]
        for u in range(max(0, first - top), min(kernel.shape[2], bottom - top)):
            for v in range(max(0, -left), min(kernel.shape[3], width - left)):
                matrix[j, :, top + u - first, left + v] = kernel[:, :, u, v]
    return matrix.reshape(out_width * filters, -1)


def _largest_singular_value(convolution: Convolution, iterations: int = 20) -> float:
    image = torch.from_numpy(numpy_generator("largest singular value").standard_normal((1, *convolution.input_shape)))
    for _ in range(iterations):
        image = convolution.rows_adjoint(convolution.rows(image / image.norm()))
    return float(image.norm().sqrt())


def _substitute(blocks: tuple[np.ndarray, ...], columns: np.ndarray) -> np.ndarray:
    """(RᵀR)⁻¹ columns, by block substitution down and up the rows of the image; columns is (H·W·C, m)."""
    size = blocks[0].shape[0]
    x = columns.copy()
    for y, block in enumerate(blocks):
        here, after = slice(y * size, (y + 1) * size), slice((y + 1) * size, y * size + block.shape[1])
        x[here] = solve_triangular(block[:, :size], x[here], trans="T", check_finite=False)
        x[after] -= block[:, size:].T @ x[here]
    for y in reversed(range(len(blocks))):
        block = blocks[y]
        here, after = slice(y * size, (y + 1) * size), slice((y + 1) * size, y * size + block.shape[1])
        x[here] = solve_triangular(block[:, :size], x[here] - block[:, size:] @ x[after], check_finite=False)
    return x


def _columns(images: Tensor) -> np.ndarray:
    """(…, C, H, W) → (H·W·C, m): pixels row by row, channels innermost."""
    return images.flatten(0, -4).permute(2, 3, 1, 0).flatten(0, 2).numpy()


def _images(columns: np.ndarray, like: Tensor) -> Tensor:
    channels, height, width = like.shape[-3:]
    return torch.from_numpy(columns).unflatten(0, (height, width, channels)).permute(3, 2, 0, 1).reshape(like.shape)
