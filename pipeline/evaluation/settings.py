"""How reconstructions are judged: the keys of `evaluation:` in an experiment."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict, field_validator

from pipeline.settings import Settings

Rate = Annotated[float, Field(gt=0, lt=1)]
Null = Literal["correlation", "shards", "other_victims", "minus_one"]


class Evaluation(Settings):
    """`threshold`: none = the nearest-neighbour threshold is computed, a number = it is pinned, and the report says so.

    `nulls`: where H1's weights come from; the first is the one that rates are quoted against. correlation: drawn from
    N(0, correlation + 1e-5·I), as published; shards: the same law without the matrix; other_victims: the weights of
    victims that share no image with the one they are scored against; minus_one: heads trained on the same set without
    one record and scored on that record, the only null that differential privacy bounds. `null_draws` weights of each
    null are scored against every training set: the more, the smaller the false-positive rates that can be told.
    """

    nulls: Annotated[tuple[Null, ...], Strict(False)] = Field(
        default=("correlation", "other_victims"),
        min_length=1,
        description="where H1's weights come from; rates are quoted against the first",
    )
    null_draws: PositiveInt = Field(
        default=1, description="weights of each null for every training set; more tell smaller false-positive rates"
    )
    reconstructor: Literal["last", "best"] = Field(
        default="last", description="which state of it: its last, or that with the lowest score on watched victims"
    )
    threshold: PositiveFloat | None = Field(
        default=None,
        description="min-MSE below which an image counts as rebuilt; none = the nearest-neighbour threshold",
    )
    false_positive_rates: Annotated[tuple[Rate, ...], Strict(False)] = Field(
        default=(0.001, 0.005, 0.01, 0.05, 0.1), min_length=1, description="at which true-positive rates are quoted"
    )
    bootstraps: Annotated[int, Field(ge=20)] = Field(
        default=1000, description="resamples of victims behind each interval"
    )
    lpips: Literal["none", "alex", "vgg"] = Field(default="alex", description="scored where its weights are at hand")
    lpips_weights: str | None = Field(
        default=None, description="a file in torchvision's layout; none = torchvision's cache, and no download"
    )
    sheet_victims: PositiveInt = Field(default=8, description="victims pictured in the report")

    @field_validator("nulls")
    @classmethod
    def _each_once(cls, nulls):
        if len(set(nulls)) < len(nulls):
            raise ValueError("nulls lists each null once")
        return nulls

    @property
    def correlates(self) -> bool:
        """Whether the correlation of all shadow weights is wanted."""
        return "correlation" in self.nulls
