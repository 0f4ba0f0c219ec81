"""Bicubic resizing in bytes, as Pillow does it and as the published programs had it done."""

import torch
from torchvision.transforms import InterpolationMode, functional


def resized(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bytes (…, C, H, W) → (…, C, height, width): along the rows first and then along the columns.

    After either pass numbers are rounded and clipped to bytes; in one pass, what overshoots in the first would go into
    the second. Pillow's own pixels but for rounding.
    """
    for size in ([images.shape[-2], width], [height, width]):
        images = functional.resize(images, size, InterpolationMode.BICUBIC, antialias=True)
    return images


def to_short_side(images: torch.Tensor, side: int) -> torch.Tensor:
    """Bytes (…, C, H, W) with the shorter of H and W scaled to `side`, and the longer one in proportion."""
    height, width = images.shape[-2:]
    short = min(height, width)
    return resized(images, side * height // short, side * width // short)
