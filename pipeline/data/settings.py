"""Which images, and what the heads under attack learn of them: the keys `data:` and `task:` of an experiment."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt, model_validator

from pipeline import located
from pipeline.errors import UserError
from pipeline.settings import Integers, Settings

IMAGE_SIZES = {"celeba": 64}
CHANNELS = {"mnist_digits": 1, "mnist": 1, "emnist_letters": 1, "emnist_letters_part": 1}


class DataSet(Settings):
    """A labelled set of images with a `train` and a `test` split."""

    name: Literal[
        "mnist_digits",
        "mnist",
        "emnist_letters",
        "emnist_letters_part",
        "cifar10",
        "cifar100",
        "cifar100_part",
        "celeba",
        "folder",
        "npz",
    ]
    path: str | None = None
    size: PositiveInt | None = None

    @model_validator(mode="after")
    def _path_where_needed(self):
        if (self.path is not None) != (self.name in ("folder", "npz")):
            raise ValueError("path belongs to `name: folder` and `name: npz`, and those need it")
        return self

    @property
    def image_size(self) -> int:
        """Side of the images that the attack rebuilds, in pixels."""
        return self.size or IMAGE_SIZES.get(self.name, 32)

    @property
    def channels(self) -> int:
        return CHANNELS.get(self.name, 3)

    @property
    def title(self) -> str:
        """A name for files: the data set's, or that of the user's own file or folder."""
        return Path(self.path).stem if self.path else self.name

    def identity(self) -> dict:
        """What results depend on: never where the data lie, but what a user's own files hold."""
        described = {"name": self.name, "size": self.image_size}
        if self.path:
            described["content"] = content_of(located(self.path))
        return described


@cache
def content_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and sizes of everything in a folder."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\n".encode())
    elif path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    else:
        raise UserError(f"data.path: {path} does not exist; give the .npz file or the folder of images by class")
    return digest.hexdigest()


class Task(Settings):
    """What the attacked head tells apart.

    multiclass: the data's own classes, by which training sets are dealt. binary: dealt so too, but the head learns the
    `positive` classes against the rest. identity: one person against others.
    """

    kind: Literal["multiclass", "binary", "identity"] = "multiclass"
    positive: Integers = ()

    @model_validator(mode="after")
    def _positive_where_needed(self):
        if (self.kind == "binary") != bool(self.positive):
            raise ValueError("positive lists the positive classes of `kind: binary`, and of nothing else")
        return self
