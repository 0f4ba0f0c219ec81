"""Readers: every data set as one `ImageSource`, read with torchvision's own readers wherever it has one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.transforms import InterpolationMode, functional

from pipeline import located
from pipeline.data.settings import DataSet
from pipeline.errors import UserError

Split = Literal["train", "test", "pretrain"]
"""`pretrain`: what a backbone learns from, the training split but for CelebA, whose validation images it never sees."""
FOLDER_SIDE = 256
CELEBA_SIDES = 232, 224
"""Photos are resized to a short side of 232 and cropped to 224, bicubically, as published."""
EMNIST_BALANCED_LETTERS = np.array([*range(26), 0, 1, 3, 4, 5, 6, 7, 13, 16, 17, 19])
"""Letter (0 = A) of each class 10…46 of EMNIST balanced: 26 capitals, then the small letters that look different."""


@dataclass(frozen=True)
class ImageSource:
    """A split of a data set: `labels` (n,) int64 from 0, and `read(indices) -> (b, C, H, W)` uint8.

    `attributes` (n, A) uint8 are further yes-or-no labels, where the data have them (CelebA's 40). `bicubic`: how
    images are resized for an attack to rebuild; else bilinearly.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], torch.Tensor]
    attributes: np.ndarray | None = None
    bicubic: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: range | np.ndarray) -> "ImageSource":
        """The images at these places, numbered from 0."""
        places = np.asarray(chosen)
        attributes = None if self.attributes is None else self.attributes[places]
        return ImageSource(self.labels[places], lambda indices: self.read(places[indices]), attributes, self.bicubic)


def load(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    """Open a split of `dataset` under `root`; raises UserError naming the file, the place and the cure."""
    if split == "pretrain" and dataset.name != "celeba":
        split = "train"
    try:
        return _READERS[dataset.name](dataset, split, root)
    except UserError:
        raise
    except Exception as error:
        where, cure = _whereabouts(dataset, root)
        raise UserError(
            f"{dataset.name} is missing or damaged: looked for {where} ({_first_line(error)}); {cure}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_FETCH = {
    "mnist": "MNIST({root!r}, download=True)",
    "emnist_letters": "EMNIST({root!r}, 'letters', download=True)",
    "cifar10": "CIFAR10({root!r}, download=True)",
    "cifar100": "CIFAR100({root!r}, download=True)",
    "celeba": "CelebA({root!r}, 'all', download=True)",
}


def _whereabouts(dataset: DataSet, root: Path) -> tuple[str, str]:
    if dataset.path:
        return str(located(dataset.path)), "see the README, “Your own images”, for what it must hold"
    cure = "set RECON_DATA or paths.data to the folder that holds it"
    if dataset.name in _FETCH:
        call = _FETCH[dataset.name].format(root=str(root))
        cure += f', or fetch it: python -c "from torchvision.datasets import *; {call}"'
    folder, patterns = dataset.files(root)
    return str(folder / patterns[0]), cure


# ----------------------------------------------------------------------------------------------- arrays in memory


def from_array(images: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> ImageSource:
    """`images` (n, H, W) or (n, H, W, C) uint8."""
    images, labels = torch.as_tensor(images), np.asarray(labels, dtype=np.int64)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype != torch.uint8 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"images {tuple(images.shape)} {images.dtype} with labels {labels.shape}; "
            "expected (n, H, W[, C]) uint8 with (n,) labels"
        )
    if labels.min() < 0:
        raise ValueError("labels must be 0 or more")
    images = images.permute(0, 3, 1, 2)
    return ImageSource(labels, lambda indices: images[torch.as_tensor(indices)].contiguous())


def _mnist_digits(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    return _from_npz(Path(__file__).with_name("mnist_digits.npz"), split)


def _npz(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    """A user's own arrays; grey images are read as colour, like every image of a user's."""
    source = _from_npz(located(dataset.path), split)
    return replace(source, read=lambda indices: source.read(indices).expand(-1, dataset.channels, -1, -1))


def _from_npz(path: Path, split: Split) -> ImageSource:
    with np.load(path, allow_pickle=False) as file:
        return from_array(file[f"{split}_images"], file[f"{split}_labels"])


def _mnist(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    mnist = datasets.MNIST(root, train=split == "train")
    return from_array(mnist.data, mnist.targets)


def _emnist_letters(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    letters = datasets.EMNIST(root, "letters", train=split == "train")
    return from_array(letters.data.transpose(1, 2), letters.targets - 1)


def _emnist_letters_part(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    """The letters among the first 14,246 images of EMNIST balanced test; every tenth of them is held out as test."""
    stem = root / "EMNIST_balanced_test_part" / "emnist-balanced-test-part"
    images = read_image_file(f"{stem}-images-idx3-ubyte").transpose(1, 2)
    labels = read_label_file(f"{stem}-labels-idx1-ubyte").numpy()
    letters = np.flatnonzero(labels >= 10)
    held_out = np.arange(len(letters)) % 10 == 9
    letters = letters[held_out if split == "test" else ~held_out]
    return from_array(images[letters], EMNIST_BALANCED_LETTERS[labels[letters] - 10])


def _cifar10(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    cifar = datasets.CIFAR10(root, train=split == "train")
    return from_array(cifar.data, cifar.targets)


def _cifar100(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    cifar = datasets.CIFAR100(root, train=split == "train")
    return from_array(cifar.data, cifar.targets)


def _cifar100_part(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    """The first 5,000 training images and all test images, where the whole archive is not at hand."""
    return _from_npz(root / "cifar100_part.npz", split)


# ------------------------------------------------------------------------------------------------- files on disk


def _celeba(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    """Identities of torchvision's train and valid splits are ours to train on; its test identities are held out. Photos
    come as the published programs cut them."""
    names = {"train": ("train", "valid"), "pretrain": ("train",), "test": ("test",)}[split]
    parts = [datasets.CelebA(root, part) for part in names]
    files = [Path(part.root) / part.base_folder / "img_align_celeba" / name for part in parts for name in part.filename]
    identities = torch.cat([part.identity for part in parts]).flatten().numpy()
    attributes = torch.cat([part.attr for part in parts]).numpy().astype(np.uint8)
    labels = np.unique(identities, return_inverse=True)[1].astype(np.int64)
    short, side = CELEBA_SIDES

    def cut(file: Path) -> torch.Tensor:
        photo = functional.resize(_decode(file), short, InterpolationMode.BICUBIC, antialias=True)
        return functional.center_crop(photo, [side, side])

    return ImageSource(labels, lambda indices: torch.stack([cut(files[i]) for i in indices]), attributes, bicubic=True)


def _folder(dataset: DataSet, split: Split, root: Path) -> ImageSource:
    """`path/{train,test}/<class>/<image>`."""
    return from_folder(located(dataset.path) / split)[0]


def from_folder(path: Path) -> tuple[ImageSource, list[str]]:
    """`path/<class>/<image>`, centre-cropped to a square of 256 pixels as it is read; and the names of the classes."""
    folder = datasets.ImageFolder(path)
    files, labels = zip(*folder.samples, strict=True)

    def square(file: str) -> torch.Tensor:
        image = functional.resize(_decode(file), FOLDER_SIDE, antialias=True)
        return functional.center_crop(image, [FOLDER_SIDE, FOLDER_SIDE])

    source = ImageSource(np.array(labels, np.int64), lambda indices: torch.stack([square(files[i]) for i in indices]))
    return source, folder.classes


def class_folders(dataset: DataSet) -> list[str] | None:
    """The names of a folder's classes, in the order of their labels; None for other data, whose classes are numbers."""
    if dataset.name != "folder":
        return None
    return sorted(entry.name for entry in (located(dataset.path) / "train").iterdir() if entry.is_dir())


def check_classes(dataset: DataSet) -> None:
    """Raises UserError for a folder whose train/ and test/ have other classes: their labels would mean others."""
    if dataset.name != "folder":
        return
    root = located(dataset.path)
    train, test = ({entry.name for entry in (root / split).iterdir() if entry.is_dir()} for split in ("train", "test"))
    if different := sorted(train ^ test):
        raise UserError(
            f"data.path: {root} has the class {different[0]} in train/ or test/ alone; both need the same classes"
        )


def _decode(file: str | Path) -> torch.Tensor:
    with Image.open(file) as image:
        return functional.pil_to_tensor(image.convert("RGB"))


_READERS: dict[str, Callable[[DataSet, Split, Path], ImageSource]] = {
    "mnist_digits": _mnist_digits,
    "mnist": _mnist,
    "emnist_letters": _emnist_letters,
    "emnist_letters_part": _emnist_letters_part,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "cifar100_part": _cifar100_part,
    "celeba": _celeba,
    "folder": _folder,
    "npz": _npz,
}
