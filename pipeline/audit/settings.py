"""The user's own model and the images that trained it: the keys of `subject:` in an experiment."""

from typing import Annotated

from pydantic import Field, PositiveInt, Strict, model_validator

from pipeline import located
from pipeline.data.contents import EVERYTHING, content_of
from pipeline.errors import UserError
from pipeline.fingerprint import digest_of
from pipeline.settings import Settings
from pipeline.weight_files import existing

HEAD, IMAGES = "subject.head", "subject.images"
Files = Annotated[tuple[str, ...], Strict(False), Field(min_length=1)]
Level = Annotated[float, Field(gt=0, lt=0.5)]


class Subject(Settings):
    """Heads under audit, and of each the private images that trained it; `data:` are the adversary's images, and
    `shadow_models.training` is the recipe that the adversary believes in."""

    head: str | Files = Field(description="weights of a linear head (.pth, .npy), or a list of several")
    images: str | Files = Field(
        description="the private images in any order: an .npz with images and labels, or a folder with a folder for "
        "each class; a list says so for each head"
    )
    false_positive_rates: Annotated[tuple[Level, ...], Strict(False)] = Field(
        default=(0.01, 0.001), min_length=1, description="at which an image is called rebuilt, or not"
    )
    null_heads: PositiveInt = Field(
        default=1000, description="heads of the adversary's that set the null; each slot of a head gives one picture"
    )
    tested_heads: Annotated[int, Field(ge=20)] = Field(
        default=400, description="further heads with known members, on which all rates are measured"
    )
    retrainings: Annotated[int, Field(ge=20)] = Field(
        default=200, description="of a head on the private images, to tell whether recipe and weights belong together"
    )

    @model_validator(mode="after")
    def _a_set_for_each_head(self):
        if not isinstance(self.images, str) and len(self.images) not in (1, len(self.heads)):
            raise ValueError(
                f"images lists {len(self.images)} sets for {len(self.heads)} heads; give one for each, or one for all"
            )
        return self

    @property
    def heads(self) -> tuple[str, ...]:
        return (self.head,) if isinstance(self.head, str) else self.head

    @property
    def sets(self) -> tuple[str, ...]:
        """The private images of each head."""
        named = (self.images,) if isinstance(self.images, str) else self.images
        return named * len(self.heads) if len(named) == 1 else named

    def identity(self) -> dict:
        """What an audit depends on: never where the files lie, but what they hold."""
        contents = [content_of_images(path) for path in self.sets]
        described = self.model_dump(mode="json", exclude={"head", "images"})
        return described | {"heads": [digest_of(existing(path, HEAD)) for path in self.heads], "images": contents}


def content_of_images(path: str) -> str:
    """The digest of an .npz file, or of a folder's files with their names."""
    place = located(path)
    if not place.exists():
        raise UserError(
            f"{IMAGES}: {place} does not exist; give an .npz with images and labels, or a folder with a folder for "
            "each class"
        )
    return content_of(place, (EVERYTHING,)) if place.is_dir() else content_of(place.parent, (place.name,))
