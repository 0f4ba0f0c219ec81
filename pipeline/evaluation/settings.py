"""How reconstructions are judged: the keys of `evaluation:` in an experiment."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict

from pipeline.settings import Settings

Rate = Annotated[float, Field(gt=0, lt=1)]


class Evaluation(Settings):
    """`null_weights`: where H1's weights come from. `threshold`: none = the nearest-neighbour threshold is computed."""

    null_weights: Literal["correlation", "shards"] = "correlation"
    reconstructor: Literal["last", "best"] = Field(
        default="last", description="which state of it: its last, or that with the lowest score on watched victims"
    )
    threshold: PositiveFloat | None = None
    false_positive_rates: Annotated[tuple[Rate, ...], Strict(False)] = (0.001, 0.005, 0.01, 0.05, 0.1)
    bootstraps: PositiveInt = 1000
    sheet_victims: PositiveInt = 8
