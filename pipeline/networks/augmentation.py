"""Random affine maps, one per image, as a single batched resampling."""

import torch
from torch.nn import functional

from pipeline.networks.settings import Augmentation


def augment(images: torch.Tensor, settings: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Rotate, scale, shear and mirror each of `images` (B, C, H, W) by its own draw; outside pixels repeat the border.

    Draws are made on the generator's device, so that they do not depend on where the images are.
    """
    if settings == Augmentation():
        return images
    count = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low

    angle = torch.deg2rad(uniform(-settings.degrees, settings.degrees))
    shear = torch.tan(torch.deg2rad(uniform(-settings.shear, settings.shear)))
    scale = uniform(*settings.scale)
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float() if settings.flip else torch.ones(count, device=generator.device)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = torch.stack([cosine, cosine * shear - sine, sine, sine * shear + cosine], 1).view(count, 2, 2)
    rows = rows * torch.stack([mirror, torch.ones_like(mirror)], 1)[:, None, :]
    theta = functional.pad(rows, (0, 1)).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
