"""Precision of float32 matrix products within a block; restored afterwards."""

import contextlib
from collections.abc import Iterator

import torch

PROBE = 512
ALLOWED = 4.0
"""A faster routine is accepted up to so many times the error of `highest`; bfloat16's is 10,000 times as large."""


@contextlib.contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """torch.set_float32_matmul_precision within the block, for cuDNN's convolutions too.

    high and medium let TF32 or bfloat16 products stand in where the device has them, and are other, often faster
    routines of full exactness where it has not. verified: the fastest that is as exact as highest on this device.
    """
    with _set(_verified(device) if precision == "verified" else precision):
        yield


@contextlib.contextmanager
def _set(precision: str) -> Iterator[None]:
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def _verified(device: torch.device) -> str:
    own = product_error("highest", device)
    return next((one for one in ("medium", "high") if product_error(one, device) <= ALLOWED * own), "highest")


def product_error(precision: str, device: torch.device) -> float:
    """How far a product in float32 is from that in float64, relative to it, at this precision."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(PROBE, PROBE, generator=generator).to(device) for _ in range(2))
    with _set(precision):
        found = left @ right
    exact = left.double() @ right.double()
    return float((found - exact).norm() / exact.norm())
