"""How a head is inverted to features: the keys of `head_inversion:` in an experiment."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.networks.settings import Copies
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.config import Experiment

UNEXPLAINED = 3e-3
"""Where nothing in a weight was random (its start is known), ν is this share of the mean squared weight, since C is not
known exactly: with ν = 0 every error of C is carried into the features in full, and the rounds do not learn. With the
true C it costs 0.001 of the cosine (VGG-tiny, PyTorch's default initial weights, known: 0.921 for 0.922)."""


class HeadInversion(Settings):
    """The prior's directions, and the rounds that alternate between features and coefficients."""

    variance: float = Field(
        default=0.999, gt=0, le=1, description="share of the within-class variance that the kept directions hold"
    )
    augmentation: Copies | None = Field(
        default=None,
        description="the inversion and the reconstructor learn from shadow models of augmented copies too, streamed; "
        "the prior, the statistics and the nulls do not",
    )
    rounds: PositiveInt = Field(default=4, description="of correcting the features, then the coefficients")
    width: PositiveInt = Field(default=512, description="hidden units of the network that corrects features")
    batch_size: PositiveInt = Field(default=256, description="shadow models a step")
    steps: PositiveInt = Field(default=800, description="of training the rounds")
    learning_rate: PositiveFloat = Field(default=1e-3, description="of AdamW")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the correcting networks' products; everything else is float32 or finer"
    )
    threads: PositiveInt = Field(default=2, description="CPU threads: part of the result, since sums depend on it")


def inverts_heads(experiment: "Experiment") -> bool:
    """Whether the reconstructor reads features recovered by head inversion."""
    return experiment.reconstructor is not None and experiment.reconstructor.reads == "features"
