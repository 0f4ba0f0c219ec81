"""EMNIST letters, whole and in part."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.record import Record, Split

if TYPE_CHECKING:
    from pipeline.data.settings import DataSet
    from pipeline.data.sources import ImageSource

EMNIST_BALANCED_LETTERS = np.array([*range(26), 0, 1, 3, 4, 5, 6, 7, 13, 16, 17, 19])
"""Letter (0 = A) of each class 10…46 of EMNIST balanced: 26 capitals, then the small letters that look different."""


def read(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    from torchvision import datasets

    from pipeline.data.sources import from_array

    letters = datasets.EMNIST(root, "letters", train=split == "train")
    return from_array(letters.data.transpose(1, 2), letters.targets - 1)


def read_part(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    """The letters among the first 14,246 images of EMNIST balanced test; every tenth of them is held out as test."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    from pipeline.data.sources import from_array

    stem = root / "EMNIST_balanced_test_part" / "emnist-balanced-test-part"
    images = read_image_file(f"{stem}-images-idx3-ubyte").transpose(1, 2)
    labels = read_label_file(f"{stem}-labels-idx1-ubyte").numpy()
    letters = np.flatnonzero(labels >= 10)
    held_out = np.arange(len(letters)) % 10 == 9
    letters = letters[held_out if split == "test" else ~held_out]
    return from_array(images[letters], EMNIST_BALANCED_LETTERS[labels[letters] - 10])


RECORDS = (
    Record(
        name="emnist_letters",
        read=read,
        about="handwritten letters in 26 classes, 124,800 to train on and 20,800 to test on",
        licence="public domain (NIST Special Database 19)",
        files=("EMNIST/raw/emnist-letters-*-ubyte", "EMNIST/processed/*letters.pt"),
        channels=1,
        fetch="EMNIST({root!r}, 'letters', download=True)",
    ),
    Record(
        name="emnist_letters_part",
        read=read_part,
        about="the letters among the first 14,246 images of EMNIST balanced test; every tenth is held out as test",
        licence="public domain (NIST Special Database 19)",
        files=("EMNIST_balanced_test_part/emnist-balanced-test-part-*-ubyte",),
        channels=1,
    ),
)
