"""What a data set is to the rest of the program: one record, in one file of pipeline/data/sets/."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.data.settings import DataSet
    from pipeline.data.sources import ImageSource

Split = Literal["train", "test", "pretrain"]
"""`pretrain`: what a backbone learns from; the training split, but where a record says `own_pretrain_split`."""


@dataclass(frozen=True)
class Record:
    """A data set.

    name      the value of `data.name`
    read      opens a split, from the settings and the folder of all data; what it raises is reported in one line
    about     in a sentence, for docs/keys.md
    licence   under which the images are given
    files     patterns of its files, below the folder of all data; none = the file or folder that `data.path` names
    channels  of its images: 1 or 3
    size      side of the images that an attack rebuilds, in pixels, where `data.size` does not say
    fetch     a call of torchvision.datasets that downloads it, with {root!r} for the folder
    folder    where its files are, if not in the folder of all data
    """

    name: str
    read: "Callable[[DataSet, Split, Path], ImageSource]"
    about: str
    licence: str
    files: tuple[str, ...] = ()
    channels: int = 3
    size: int = 32
    fetch: str = ""
    folder: Path | None = None
    own_pretrain_split: bool = False

    @property
    def is_users(self) -> bool:
        """Whether `data.path` says where it is."""
        return not self.files
