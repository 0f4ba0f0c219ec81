"""How the reconstructor is built and trained: the keys of `reconstructor:` in an experiment."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict

from pipeline.settings import Settings

Mode = Literal["conditional", "unconditional"]


class Reconstructor(Settings):
    """One reconstructor per mode. `width` is the paper's g: channels of the last up-sampling block."""

    modes: Annotated[tuple[Mode, ...], Strict(False)] = Field(default=("conditional",), min_length=1)
    width: PositiveInt
    batch_size: PositiveInt = 32
    steps: PositiveInt = 1_000_000
    learning_rate: PositiveFloat = 2e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    lpips: Literal["none", "vgg", "alex"] = "none"
    softmin_sharpness: PositiveFloat = 100.0
    validate_every: PositiveInt = 10_000
    threads: PositiveInt = Field(default=2, description="CPU threads: part of the result, since sums depend on it")
