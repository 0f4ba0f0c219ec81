"""The images an attack rebuilds: a whole split, resident once as bytes, seen as numbers in [-1, 1]."""

import numpy as np
import torch
from torchvision.transforms import functional

from pipeline.data.resizing import resized
from pipeline.data.sources import ImageSource

BLOCK = 4096


def target_images(source: ImageSource, size: int) -> torch.Tensor:
    """(n, C, size, size) uint8: centre-cropped to a square, resized with antialiasing, as the source says."""
    blocks = []
    for start in range(0, len(source), BLOCK):
        block = source.read(np.arange(start, min(start + BLOCK, len(source))))
        block = functional.center_crop(block, [min(block.shape[-2:])] * 2)
        scaled = (
            resized(block, size, size) if source.bicubic else functional.resize(block, [size, size], antialias=True)
        )
        blocks.append(scaled)
    return torch.cat(blocks)


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """Bytes 0…255 → float32 in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Numbers in [-1, 1] → the nearest bytes 0…255."""
    return images.add(1).mul(127.5).round().clamp_(0, 255).to(torch.uint8)
