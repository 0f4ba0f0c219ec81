"""A user's own images: a folder by class, or arrays in an .npz file."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import located
from pipeline.data.contents import EVERYTHING, check_once
from pipeline.data.record import Record, Split
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.data.settings import DataSet
    from pipeline.data.sources import ImageSource

FOLDER_SIDE = 256


def read_folder(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    """`path/{train,test}/<class>/<image>`."""
    return from_folder(located(dataset.path) / split)[0]


def from_folder(path: Path) -> tuple["ImageSource", list[str]]:
    """`path/<class>/<image>`, centre-cropped to a square of 256 pixels as it is read; and the names of the classes.

    Every picture is decoded once before it is believed; raises UserError naming one that cannot be.
    """
    import numpy as np
    import torch
    from torchvision import datasets
    from torchvision.transforms import functional

    from pipeline.data.sources import ImageSource, decode, decode_all

    folder = datasets.ImageFolder(path)
    files, labels = zip(*folder.samples, strict=True)
    check_once(path, (EVERYTHING,), "pictures", partial(decode_all, files))

    def square(file: str) -> torch.Tensor:
        image = functional.resize(decode(file), FOLDER_SIDE, antialias=True)
        return functional.center_crop(image, [FOLDER_SIDE, FOLDER_SIDE])

    source = ImageSource(np.array(labels, np.int64), lambda indices: torch.stack([square(files[i]) for i in indices]))
    return source, folder.classes


def class_folders(dataset: "DataSet") -> list[str] | None:
    """The names of a folder's classes, in the order of their labels; None for other data, whose classes are numbers."""
    if dataset.name != "folder":
        return None
    return sorted(entry.name for entry in (located(dataset.path) / "train").iterdir() if entry.is_dir())


def check_classes(dataset: "DataSet") -> None:
    """Raises UserError for a folder whose train/ and test/ have other classes: their labels would mean others."""
    if dataset.name != "folder":
        return
    root = located(dataset.path)
    train, test = ({entry.name for entry in (root / split).iterdir() if entry.is_dir()} for split in ("train", "test"))
    if different := sorted(train ^ test):
        raise UserError(
            f"data.path: {root} has the class {different[0]} in train/ or test/ alone; both need the same classes"
        )


def read_npz(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    """A user's own arrays; grey images are read as colour, like every image of a user's."""
    from pipeline.data.sources import from_npz

    source = from_npz(located(dataset.path), split)
    return replace(source, read=lambda indices: source.read(indices).expand(-1, dataset.channels, -1, -1))


RECORDS = (
    Record(
        name="folder",
        read=read_folder,
        about="your images, as PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE; classes are numbered by name",
        licence="yours",
    ),
    Record(
        name="npz",
        read=read_npz,
        about="your arrays train_images, test_images (n, H, W[, C]) uint8 and train_labels, test_labels (n,) in a file",
        licence="yours",
    ),
)
