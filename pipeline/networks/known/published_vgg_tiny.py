"""VGG-tiny, the backbone of the published experiments on MNIST."""

from typing import TYPE_CHECKING

from pipeline.networks.record import Record

if TYPE_CHECKING:
    from torch import Tensor, nn


def build() -> "nn.Module":
    from pipeline.networks.vgg_tiny import VGGTiny

    return VGGTiny()


def preprocess(images: "Tensor") -> "Tensor":
    """One channel of 32×32 in [-1, 1]."""
    from torchvision.transforms import functional

    grey = images if images.shape[1] == 1 else functional.rgb_to_grayscale(images)
    return functional.resize(grey, [32, 32], antialias=True).float().div(127.5).sub(1)


def own_name(key: str) -> str:
    """Published files call the parts features, fc1.0 and fc2.0."""
    return key.replace("features.", "convolutions.").replace("fc1.0.", "linear.0.").replace("fc2.0.", "linear.2.")


RECORDS = (Record("vgg_tiny", 256, build, preprocess, own_name=own_name),)
