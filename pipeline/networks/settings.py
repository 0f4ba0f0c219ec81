"""The frozen network that turns images into features, and how it is pre-trained: `backbone:` and `pretrain:`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict

from pipeline import located
from pipeline.data.settings import DataSet
from pipeline.errors import UserError
from pipeline.fingerprint import digest_of
from pipeline.settings import Settings

Network = Literal["published", "fully_connected"]
SIDES = (16, 32, 64)
"""Pixels a side of the images that the published network makes."""
FEATURES = {"vgg_tiny": 256, "efficientnet_b0": 1280, "wide_resnet50_2": 2048}


class Backbone(Settings):
    """`weights`: a .pth with the state dict of a pre-trained classifier, as published or with the prefix `body.`;
    none = the `pretrain` stage makes them."""

    name: Literal["vgg_tiny", "efficientnet_b0", "wide_resnet50_2"]
    weights: str | None = None

    @property
    def features(self) -> int:
        return FEATURES[self.name]

    def weights_digest(self) -> str:
        """SHA-256 of the weights file, by which results know it."""
        path = located(self.weights)
        if not path.is_file():
            raise UserError(
                f"backbone.weights: {path} does not exist; remove the key to pre-train the backbone instead"
            )
        return digest_of(path)


class Phase(Settings):
    """One stretch of Adam: the new top alone, or everything (batch normalisation stays frozen)."""

    train: Literal["head", "all"]
    epochs: PositiveInt
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    weight_decay: float = Field(default=0.0, ge=0)


class Augmentation(Settings):
    """Random affine maps: rotation (degrees), isotropic scale, shear (degrees); a mirror; and smooth bends."""

    degrees: float = Field(default=0.0, ge=0)
    scale: Annotated[tuple[float, float], Strict(False)] = (1.0, 1.0)
    shear: float = Field(default=0.0, ge=0)
    flip: bool = False
    bend: float = Field(
        default=0.0, ge=0, description="deviation of a smooth random shift of pixels, in halves of the image's side"
    )


class Copies(Augmentation):
    """How many augmented copies of every image stand beside it, and of what kind."""

    copies: PositiveInt


class Pretrain(Settings):
    """`initial_weights`: random, torchvision's imagenet, or a file in torchvision's layout."""

    data: DataSet
    initial_weights: str = "random"
    phases: Annotated[tuple[Phase, ...], Strict(False)] = Field(min_length=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    augmentation: Augmentation = Augmentation()
    seed: int = 0
    threads: PositiveInt = 2
