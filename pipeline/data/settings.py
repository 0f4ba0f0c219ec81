"""Which images, and what the heads under attack learn of them: the keys `data:` and `task:` of an experiment."""

from pathlib import Path
from typing import Literal

from pydantic import PositiveInt, model_validator

from pipeline import located
from pipeline.data.contents import EVERYTHING, content_of
from pipeline.errors import UserError
from pipeline.settings import Integers, Settings

IMAGE_SIZES = {"celeba": 64}
CHANNELS = {"mnist_digits": 1, "mnist": 1, "emnist_letters": 1, "emnist_letters_part": 1}

EMBEDDED = Path(__file__).parent
FILES = {
    "mnist_digits": ("mnist_digits.npz",),
    "mnist": ("MNIST/raw/*-ubyte", "MNIST/processed/*.pt"),
    "emnist_letters": ("EMNIST/raw/emnist-letters-*-ubyte", "EMNIST/processed/*letters.pt"),
    "emnist_letters_part": ("EMNIST_balanced_test_part/emnist-balanced-test-part-*-ubyte",),
    "cifar10": ("cifar-10-batches-py/*",),
    "cifar100": ("cifar-100-python/*",),
    "cifar100_part": ("cifar100_part.npz",),
    "celeba": ("celeba/*.txt", "celeba/img_align_celeba/*"),
}
"""Named data set → where its files are, below the folder of all data."""


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

    def identity(self, root: Path) -> dict:
        """What results depend on: never where the data lie, but what the files hold; named sets are below `root`."""
        return {"name": self.name, "size": self.image_size, "content": content_of(*self.files(root))}

    def files(self, root: Path) -> tuple[Path, tuple[str, ...]]:
        """The folder of its files, and the patterns that they match in it."""
        if self.path is None:
            return (EMBEDDED if self.name == "mnist_digits" else root), FILES[self.name]
        path = located(self.path)
        if not path.exists():
            raise UserError(f"data.path: {path} does not exist; give the .npz file or the folder of images by class")
        return (path, (EVERYTHING,)) if path.is_dir() else (path.parent, (path.name,))


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
