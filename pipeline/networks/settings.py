"""The frozen network that turns images into features, and how it is pre-trained: `backbone:` and `pretrain:`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict, model_validator

from pipeline import located
from pipeline.data.settings import DataSet
from pipeline.errors import UserError
from pipeline.fingerprint import digest_of
from pipeline.networks.known import RECORDS
from pipeline.networks.record import Record
from pipeline.settings import Settings

Network = Literal["published", "fully_connected"]
SIDES = (16, 32, 64)
"""Pixels a side of the images that the published network makes."""
FEATURES = {name: record.features for name, record in RECORDS.items()}


class Backbone(Settings):
    """`weights`: a .pth with the state dict of a pre-trained classifier, as published or with the prefix `body.`;
    for efficientnet_lite0 also `imagenet`, those of its package; none = the `pretrain` stage makes them."""

    name: Literal[tuple(RECORDS)] = Field(description="the network whose last features the head reads")
    weights: str | None = Field(
        default=None,
        description="a pre-trained classifier (.pth), or imagenet for efficientnet_lite0; none = `pretrain` makes it",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the products that make features; on CPUs with bfloat16 three times as fast"
    )

    @model_validator(mode="after")
    def _imagenet_comes_with_a_package(self):
        if self.weights == "imagenet" and not self.record.imagenet_file:
            which = ", ".join(name for name, record in RECORDS.items() if record.imagenet_file)
            raise ValueError(
                f"weights: imagenet is for {which}, not {self.name}: name a file, or leave weights out and "
                "give a pretrain part"
            )
        return self

    @property
    def record(self) -> Record:
        return RECORDS[self.name]

    def weights_file(self) -> Path:
        """Where the weights are; raises UserError where they are not."""
        path = self.record.imagenet_file("backbone.weights") if self.weights == "imagenet" else located(self.weights)
        if not path.is_file():
            raise UserError(
                f"backbone.weights: {path} does not exist; remove the key to pre-train the backbone instead"
            )
        return path

    def weights_digest(self) -> str:
        """SHA-256 of the weights file, by which results know it."""
        return digest_of(self.weights_file())


class Phase(Settings):
    """One stretch of Adam: the new top alone, or everything (batch normalisation stays frozen)."""

    train: Literal["head", "all"] = Field(description="the new top alone, or everything")
    epochs: PositiveInt = Field(description="passes over the data")
    learning_rate: PositiveFloat = Field(description="of Adam")
    batch_size: PositiveInt = Field(description="images a step")
    weight_decay: float = Field(default=0.0, ge=0, description="of Adam")


class Augmentation(Settings):
    """Random affine maps: rotation (degrees), isotropic scale, shear (degrees); a mirror; and smooth bends."""

    degrees: float = Field(default=0.0, ge=0, description="largest rotation")
    scale: Annotated[tuple[float, float], Strict(False)] = Field(
        default=(1.0, 1.0), description="least and largest isotropic scale"
    )
    shear: float = Field(default=0.0, ge=0, description="largest shear, in degrees")
    flip: bool = Field(default=False, description="mirror half of the images")
    bend: float = Field(
        default=0.0, ge=0, description="deviation of a smooth random shift of pixels, in halves of the image's side"
    )


class Copies(Augmentation):
    """How many augmented copies of every image stand beside it, and of what kind."""

    copies: PositiveInt = Field(description="augmented copies of every image")


class Pretrain(Settings):
    """`initial_weights`: random, imagenet (torchvision's, or the package's of efficientnet_lite0), or a file in the
    same layout."""

    data: DataSet
    initial_weights: str = Field(
        default="random", description="`random`, `imagenet`, or a file in torchvision's layout"
    )
    phases: Annotated[tuple[Phase, ...], Strict(False)] = Field(
        min_length=1, description="stretches of training, one after the other"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before the last layer")
    augmentation: Augmentation = Augmentation()
    seed: int = Field(default=0, description="of the weights and of the order of images")
    threads: PositiveInt = Field(default=2, description="CPU threads: part of the result, since sums depend on it")
