"""How a head is inverted to features: the keys of `head_inversion:` in an experiment."""

from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.settings import Settings


class HeadInversion(Settings):
    """The prior's directions, and the training of the network that estimates the coefficients (where one is needed)."""

    variance: float = Field(
        default=0.999, gt=0, le=1, description="share of the within-class variance that the kept directions hold"
    )
    width: PositiveInt = Field(default=768, description="of the estimator's three hidden layers")
    batch_size: PositiveInt = Field(default=256, description="shadow models a step")
    steps: PositiveInt = Field(default=1500, description="of training the estimator")
    learning_rate: PositiveFloat = 1e-3
    threads: PositiveInt = Field(default=2, description="CPU threads: part of the result, since sums depend on it")
