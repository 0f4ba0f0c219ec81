"""What networks that learnt ImageNet are fed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_images(images: "Tensor", mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> "Tensor":
    """Bytes (B, C, H, W) → three channels of 224×224, `mean` and `std` of each taken off.

    Small images are scaled up to that side, larger ones to a short side of 232 and cropped to the centre, bicubically,
    in bytes and in two passes, as Pillow and so the published programs did: what overshoots is clipped.
    """
    from torchvision.transforms import functional

    from pipeline.data.resizing import resized, to_short_side

    if min(images.shape[-2:]) < 100:
        scaled = resized(images, 224, 224)
    elif images.shape[-2:] == (224, 224):  # cut already
        scaled = images
    else:
        scaled = functional.center_crop(to_short_side(images, 232), [224, 224])
    return functional.normalize(scaled.expand(-1, 3, -1, -1).float().div(255), mean, std)
