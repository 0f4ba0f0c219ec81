"""Products of stacked matrices, written to memory that is there already."""

from collections.abc import Hashable

import torch
from torch import Tensor

SMALL_GRAM = 200
"""Rows below which a Gram matrix by quarters costs more than the quarter it saves."""


class Memory:
    """Tensors that one evaluation after another writes to: fresh ones would cost a page fault for each page."""

    def __init__(self):
        self._tensors: dict[Hashable, Tensor] = {}

    def __call__(self, name: Hashable, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """The tensor of this name, as it was left; a new one where shape, dtype or device differ."""
        held = self._tensors.get(name)
        if held is None or held.shape != shape or held.dtype != like.dtype or held.device != like.device:
            held = self._tensors[name] = like.new_empty(shape)
        return held


def multiply(total: Tensor, left: Tensor, right: Tensor, *, alpha: float = 1, add: bool = False) -> Tensor:
    """α·left·right, or total + α·left·right, in `total` (T, m, b); left is (T, m, a), right (T, a, b) or (a, b)."""
    if right.ndim == 3:
        return total.baddbmm_(left, right, beta=int(add), alpha=alpha)
    total.flatten(0, 1).addmm_(left.flatten(0, 1), right, beta=int(add), alpha=alpha)
    return total


def gram(total: Tensor, values: Tensor) -> Tensor:
    """AAᵀ of A (T, m, a) in `total` (T, m, m); large ones by quarters, that above the diagonal as that below it."""
    if values.shape[1] < 2 * SMALL_GRAM:
        return torch.bmm(values, values.mT, out=total)
    for one, own in zip(total, values, strict=True):
        _gram_by_quarters(one, own)
    return total


def _gram_by_quarters(total: Tensor, values: Tensor) -> None:
    half = len(values) // 2
    if half < SMALL_GRAM:
        total.addmm_(values, values.t(), beta=0)
        return
    below = total[half:, :half]
    below.addmm_(values[half:], values[:half].t(), beta=0)
    total[:half, half:] = below.t()
    _gram_by_quarters(total[:half, :half], values[:half])
    _gram_by_quarters(total[half:, half:], values[half:])


def inner(one: Tensor, other: Tensor) -> Tensor:
    """(T,): the inner product of two (T, …) in each trial."""
    return (one.flatten(1)[:, None] @ other.flatten(1)[..., None]).flatten()
