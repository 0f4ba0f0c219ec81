"""MNIST, and the part of it that lies in this repository."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.record import Record, Split

if TYPE_CHECKING:
    from pipeline.data.settings import DataSet
    from pipeline.data.sources import ImageSource

EMBEDDED = Path(__file__).parent.parent


def read_embedded(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    from pipeline.data.sources import from_npz

    return from_npz(EMBEDDED / "mnist_digits.npz", split)


def read(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    from torchvision import datasets

    from pipeline.data.sources import from_array

    mnist = datasets.MNIST(root, train=split == "train")
    return from_array(mnist.data, mnist.targets)


RECORDS = (
    Record(
        name="mnist_digits",
        read=read_embedded,
        about="10,000 of MNIST's digits, embedded in this repository: 8,000 to train on and 2,000 to test on",
        licence="CC BY-SA 3.0",
        files=("mnist_digits.npz",),
        folder=EMBEDDED,
        channels=1,
    ),
    Record(
        name="mnist",
        read=read,
        about="handwritten digits, 60,000 to train on and 10,000 to test on",
        licence="CC BY-SA 3.0",
        files=("MNIST/raw/*-ubyte", "MNIST/processed/*.pt"),
        channels=1,
        fetch="MNIST({root!r}, download=True)",
    ),
)
