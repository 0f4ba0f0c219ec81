"""How membership is inferred: the keys of `membership:` in an experiment."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Strict

from pipeline.settings import Settings

Attack = Literal["lira_online", "lira_offline", "rmia"]


class Membership(Settings):
    """LiRA (Carlini et al. 2022), online and offline, and RMIA (Zarifzadeh, Liu and Shokri 2024), by the confidence in
    the right class alone.

    `shadows`: the first shadow models of the first training seed are those without an image, and as many are trained
    with it, each on the same set with the image in the place of one of its class.
    """

    attacks: Annotated[tuple[Attack, ...], Strict(False)] = Field(
        default=("lira_online", "lira_offline", "rmia"), min_length=1, description="which of the three are made"
    )
    shadows: int = Field(default=64, ge=4, description="shadow models without an image, and as many with it")
    population: PositiveInt = Field(default=1000, description="RMIA: images of the adversary that each is held against")
    gamma: PositiveFloat = Field(default=2.0, description="RMIA: how many times likelier an image must be than another")
