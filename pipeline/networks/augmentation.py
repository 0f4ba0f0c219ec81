"""Random maps of images: affine ones, mirrors and smooth bends, one per image, as a single batched resampling."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.sources import ImageSource
from pipeline.networks.settings import Augmentation, Copies

BEND_POINTS = 4
"""A bend is given at 4×4 points and interpolated between them."""


@dataclass(frozen=True)
class Maps:
    """Of B images: matrices (B, 2, 2) from new to old coordinates, and bends (B, 2, 4, 4) added to them, or none."""

    matrices: Tensor
    bends: Tensor | None

    @classmethod
    def draw(cls, count: int, settings: Augmentation, generator: torch.Generator) -> "Maps":
        """On the generator's device, so that draws do not depend on where the images are."""
        device = generator.device

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(count, generator=generator, device=device) * (high - low) + low

        angle = torch.deg2rad(uniform(-settings.degrees, settings.degrees))
        shear = torch.tan(torch.deg2rad(uniform(-settings.shear, settings.shear)))
        scale = uniform(*settings.scale)
        mirror = 1 - 2 * (uniform(0, 1) < 0.5).float() if settings.flip else torch.ones(count, device=device)
        cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
        rows = torch.stack([cosine, cosine * shear - sine, sine, sine * shear + cosine], 1).view(count, 2, 2)
        bends = None
        if settings.bend:
            shape = count, 2, BEND_POINTS, BEND_POINTS
            bends = settings.bend * torch.randn(shape, generator=generator, device=device)
        return cls(rows * torch.stack([mirror, torch.ones_like(mirror)], 1)[:, None, :], bends)

    def __getitem__(self, rows: Tensor) -> "Maps":
        return Maps(self.matrices[rows], None if self.bends is None else self.bends[rows])

    def apply(self, images: Tensor) -> Tensor:
        """To images (B, C, H, W), floating point; outside pixels repeat the border."""
        theta = functional.pad(self.matrices, (0, 1)).to(images)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        if self.bends is not None:
            bends = functional.interpolate(self.bends.to(images), images.shape[2:], mode="bicubic", align_corners=True)
            grid = grid + bends.permute(0, 2, 3, 1)
        return functional.grid_sample(images, grid, "bicubic", padding_mode="border", align_corners=False)


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Map each of `images` (B, C, H, W) by its own draw."""
    if settings == Augmentation():
        return images
    return Maps.draw(len(images), settings, generator).apply(images)


def with_copies(source: ImageSource, settings: Copies, generator: torch.Generator) -> ImageSource:
    """The images of `source`, and behind them `settings.copies` augmented copies of all, each drawn once."""
    images = len(source)
    maps = Maps.draw(images * settings.copies, settings, generator)

    def read(indices: np.ndarray) -> Tensor:
        indices = np.asarray(indices)
        found = source.read(indices % images)
        copies = torch.as_tensor(indices >= images)
        if copies.any():
            chosen = torch.as_tensor(indices)[copies] - images
            found[copies] = maps[chosen].apply(found[copies].float()).clamp_(0, 255).round_().to(torch.uint8)
        return found

    return ImageSource(np.tile(source.labels, settings.copies + 1), read)
