"""EfficientNet-B0 and WideResNet-50-2, as torchvision builds them."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from pipeline.networks.imagenet import imagenet_images
from pipeline.networks.record import Record

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(name: str) -> "nn.Module":
    from torch import nn
    from torchvision import models

    network = models.get_model(name)
    setattr(network, "classifier" if hasattr(network, "classifier") else "fc", nn.Identity())
    return network


def imagenet(name: str, version: str) -> "Mapping[str, Tensor]":
    from torchvision import models

    return models.get_model_weights(name)[version].get_state_dict(check_hash=True)


RECORDS = tuple(
    Record(name, features, partial(build, name), imagenet_images, partial(imagenet, name, version))
    for name, features, version in (
        ("efficientnet_b0", 1280, "IMAGENET1K_V1"),
        ("wide_resnet50_2", 2048, "IMAGENET1K_V2"),
    )
)
