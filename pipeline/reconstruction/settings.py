"""How the reconstructor is built and trained: the keys of `reconstructor:` in an experiment."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict, model_validator

from pipeline.networks.settings import Network
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.config import Experiment

Mode = Literal["conditional", "unconditional"]
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]


class Reconstructor(Settings):
    """One reconstructor per mode."""

    modes: Annotated[tuple[Mode, ...], Strict(False)] = Field(
        default=("conditional",),
        min_length=1,
        description="conditional: told the class, one image of each is rebuilt; unconditional: one image a model",
    )
    reads: Literal["weights", "features"] = Field(
        default="weights",
        description="what of a head the network is shown: its standardised weights, as published, or the features of "
        "its training images, recovered by head inversion",
    )
    network: Network = Field(
        default="published", description="published: residual up-sampling; fully_connected: three hidden layers"
    )
    width: PositiveInt = Field(
        description="published: the paper's g, channels of the last up-sampling block; fully_connected: hidden units"
    )
    batch_size: PositiveInt = Field(
        default=32, description="images a step, of all processes together; reading features, all images of whole models"
    )
    steps: PositiveInt = Field(default=1_000_000, description="of training")
    learning_rate: PositiveFloat = Field(default=2e-4, description="of Adam")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="constant, or half a cosine down to zero"
    )
    warmup_steps: int = Field(default=0, ge=0, description="over which the learning rate rises linearly")
    clip_norm: PositiveFloat | None = Field(
        default=None, description="largest norm of the gradient; none = no clipping"
    )
    average: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay a step of a moving average of the network, which then is the result",
    )
    lpips: Literal["none", "vgg", "alex"] = Field(default="none", description="a perceptual term in the loss")
    lpips_weights: str | None = Field(
        default=None, description="a file in torchvision's layout; none = torchvision's cache, or its download"
    )
    softmin_sharpness: PositiveFloat = Field(
        default=100.0, description="of the soft minimum over the images of a class"
    )
    absolute_error: float = Field(
        default=0.5, ge=0, le=1, description="share of the mean absolute error in the loss; the rest is the squared one"
    )
    precision: Precision = Field(
        default="float32", description="auto = bfloat16 on GPUs that have it, float16 on older ones, float32 on CPUs"
    )
    compile: bool = Field(default=False, description="torch.compile; where it cannot, the same network uncompiled")
    validate_every: PositiveInt = Field(default=10_000, description="steps between looks at watched victims")
    tensorboard: bool = Field(default=False, description="scalars and pictures beside the shard; changes no result")
    threads: PositiveInt = Field(default=2, description="CPU threads: part of the result, since sums depend on it")

    @model_validator(mode="after")
    def _weights_of_a_network(self):
        if self.lpips_weights and self.lpips == "none":
            raise ValueError("lpips_weights are for lpips: vgg or alex; there is none")
        return self


def modes(experiment: "Experiment") -> list[str]:
    """What is reconstructed: a shard of every stage from the reconstructor to its rates."""
    return list(experiment.reconstructor.modes) if experiment.reconstructor else []
