"""CIFAR-10, CIFAR-100, and a part of the latter."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.record import Record, Split

if TYPE_CHECKING:
    from pipeline.data.settings import DataSet
    from pipeline.data.sources import ImageSource


def read(dataset: "DataSet", split: Split, root: Path, *, archive: str) -> "ImageSource":
    """`archive`: torchvision's CIFAR10 or CIFAR100."""
    from torchvision import datasets

    from pipeline.data.sources import from_array

    cifar = getattr(datasets, archive)(root, train=split == "train")
    return from_array(cifar.data, cifar.targets)


def read_cifar100_part(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    """The first 5,000 training images and all test images, where the whole archive is not at hand."""
    from pipeline.data.sources import from_npz

    return from_npz(root / "cifar100_part.npz", split)


RECORDS = (
    Record(
        name="cifar10",
        read=partial(read, archive="CIFAR10"),
        about="colour photographs in 10 classes, 50,000 to train on and 10,000 to test on",
        licence="no licence is stated; given for research",
        files=("cifar-10-batches-py/*",),
        fetch="CIFAR10({root!r}, download=True)",
    ),
    Record(
        name="cifar100",
        read=partial(read, archive="CIFAR100"),
        about="colour photographs in 100 classes, 50,000 to train on and 10,000 to test on",
        licence="no licence is stated; given for research",
        files=("cifar-100-python/*",),
        fetch="CIFAR100({root!r}, download=True)",
    ),
    Record(
        name="cifar100_part",
        read=read_cifar100_part,
        about="the first 5,000 training images of CIFAR-100 and all its test images",
        licence="no licence is stated; given for research",
        files=("cifar100_part.npz",),
    ),
)
