"""The report card as data: what was found of each head, in numbers and in one sentence. `card.schema.json` beside this
file is its JSON schema."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA = Path(__file__).with_name("card.schema.json")


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(Part):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.3g} % ({100 * self.low:.3g} … {100 * self.high:.3g} %)"


class Level(Part):
    """A false-positive rate that was asked for: what tested heads of the same recipe show at it. `resolved`: whether
    there were strangers enough to set its threshold."""

    false_positive_rate: float
    resolved: bool
    measured_false_positive_rate: Share
    share_of_images_rebuilt: Share


class Image(Part):
    """One private image. rebuilt_at: the levels at which it counts as rebuilt. p_head, p_image: ranks of its distance
    among other heads' pictures and among other images. expected_error: squared error of its features that the adversary
    expects, 1 where the head tells no more than the class."""

    number: int
    class_name: str
    rebuilt_at: list[float]
    known_to_adversary: bool
    distance: float
    score: float
    p_head: float
    p_image: float
    expected_error: float
    feature_cosine: float
    distance_to_most_alike: float


class Recipe(Part):
    """Whether recipe, images and weights belong together; `likely`: the change of the recipe that explains the head."""

    belongs: bool
    distance: float
    deviations: dict[str, float]
    likely: str | None
    said: str


class Head(Part):
    """`rebuilt`: how many images count as rebuilt at each level, of those that the adversary did not have."""

    file: str
    verdict: Literal["exposed", "nothing found", "inconclusive"]
    recipe: Recipe
    judged: int
    rebuilt: list[int]
    by_chance: list[float]
    images: list[Image]


class Card(Part):
    format: Literal[1] = 1
    experiment: str
    verdict: str
    threat_model: str
    levels: list[Level]
    tested_heads: int
    heads: list[Head]
    limits: list[str]

    def json_bytes(self) -> bytes:
        return (self.model_dump_json(indent=2) + "\n").encode()


def schema_bytes() -> bytes:
    return (json.dumps(Card.model_json_schema(), indent=2) + "\n").encode()
