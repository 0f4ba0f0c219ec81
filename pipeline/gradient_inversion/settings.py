"""Gradients of one training step and the attacks on them: the keys of `gradient_inversion:` in an experiment."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    create_model,
    model_validator,
)

from pipeline.gradient_inversion.methods import METHODS
from pipeline.settings import Integers, Settings, Strings

NETWORKS = Literal[
    "lenet",
    "lenet_a",
    "lenet_o",
    "o_cnn6",
    "lenet_4_relu",
    "lenet_all_relu",
    "dlg_lenet",
    "rgap_cnn6",
    "fully_connected",
]


class AttackedNetwork(Settings):
    """The network whose gradient is exposed; trained ones start from PyTorch's default initialisation."""

    name: NETWORKS = Field(default="lenet_a", description="a network of the published studies")
    activation: Literal["relu", "leaky_relu", "sigmoid", "tanh", "elu"] | None = Field(
        default=None, description="of the layers where the plan leaves it open; none = as published"
    )
    init: Literal["uniform", "default"] = Field(default="uniform", description="uniform = U(−0.5, 0.5)")
    filters: Integers | None = Field(default=None, description="instead of the plan's own, layer by layer")
    hidden: Integers | None = Field(
        default=None, description="widths of fully connected layers before the logits, instead of the plan's own"
    )
    train_steps: NonNegativeInt = Field(default=0, description="steps of Adam before the gradient is taken")

    @model_validator(mode="after")
    def _trained_from_default(self):
        if self.train_steps and self.init != "default":
            raise ValueError("train_steps needs init: default; training from U(−0.5, 0.5) does not get off the ground")
        return self


class ExposedGradient(Settings):
    """How the gradient is altered before the adversary sees it."""

    dtype: Literal["float64", "float32", "float16"] = Field(default="float64", description="the gradient is rounded to")
    clip_norm: PositiveFloat | None = Field(
        default=None, description="greatest norm of each image's gradient, before the mean of a batch is taken (DP-SGD)"
    )
    noise_multiplier: NonNegativeFloat = Field(
        default=0.0, description="normal noise on the sum of a batch, in units of clip_norm; the mean has 1/B of it"
    )

    @model_validator(mode="after")
    def _noise_needs_a_norm(self):
        if self.noise_multiplier and self.clip_norm is None:
            raise ValueError("noise_multiplier is in units of clip_norm; give clip_norm too")
        return self


class ImageRange(Settings):
    """Images `start`, `start` + 1, … before `stop`, counted from 0 in the data's train split."""

    start: NonNegativeInt = Field(description="the first image")
    stop: PositiveInt = Field(description="the image after the last")

    @model_validator(mode="after")
    def _holds_images(self):
        if self.start >= self.stop:
            raise ValueError("a range of images has start < stop")
        return self


def _how_images_are_named(value: object) -> str:
    """Which of its three forms `images` has, so that a mistake is told of that form alone."""
    if isinstance(value, dict | ImageRange):
        return "<range>"
    return "<list>" if isinstance(value, list | tuple) else "<count>"


class _Common(Settings):
    """Images of the data's train split, each (or each batch) with its own gradient, under each attack.

    `images`: how many, from the first on; a list of indices, counted from 0; or {start, stop}.
    """

    network: AttackedNetwork = AttackedNetwork()
    images: Annotated[
        Annotated[PositiveInt, Tag("<count>")]
        | Annotated[Integers, Tag("<list>")]
        | Annotated[ImageRange, Tag("<range>")],
        Discriminator(_how_images_are_named),
    ] = Field(default=100, description="how many, from the first on; a list of indices from 0; or {start, stop}")
    images_per_shard: PositiveInt = Field(default=25, description="images in a shard")
    batch_size: PositiveInt = Field(default=1, description="images whose mean gradient is exposed")
    gradient: ExposedGradient = ExposedGradient()
    attacks: Strings = Field(default=("r_conv",), description=f"of {', '.join(METHODS)}")

    @model_validator(mode="after")
    def _consistent(self):
        unknown = [name for name in self.attacks if name not in METHODS]
        if unknown or not self.attacks:
            raise ValueError(f"attacks {unknown} are not known; valid: {', '.join(METHODS)}")
        if self.batch_size > 1 and not all(METHODS[name].batches for name in self.attacks):
            able = ", ".join(name for name, method in METHODS.items() if method.batches)
            raise ValueError(f"batch_size above 1 is for {able} alone; the other attacks take single images")
        if isinstance(self.images, tuple) and (
            len(set(self.images)) < max(1, len(self.images)) or min(self.images) < 0
        ):
            raise ValueError("images lists indices from 0 on, at least one, none twice")
        for key, number in (("images", len(self.chosen)), ("images_per_shard", self.images_per_shard)):
            if number % self.batch_size:
                raise ValueError(f"{key} must be a multiple of batch_size")
        return self

    @property
    def chosen(self) -> Sequence[int]:
        """Indices of the images."""
        if isinstance(self.images, ImageRange):
            return range(self.images.start, self.images.stop)
        return range(self.images) if isinstance(self.images, int) else self.images

    def of_method(self, name: str) -> Settings:
        """The settings of one of the attacks."""
        return getattr(self, name)


GradientInversion = create_model(
    "GradientInversion",
    __base__=_Common,
    __doc__=_Common.__doc__,
    **{name: (method.settings, method.settings()) for name, method in METHODS.items()},
)
"""With the settings of every method under its name."""
