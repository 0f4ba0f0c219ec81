"""Every data set as one `ImageSource`; the readers are in pipeline/data/sets/."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional

from pipeline import located
from pipeline.data.record import Split
from pipeline.data.settings import DataSet
from pipeline.errors import UserError

MOST_CLASSES = 65536


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
    record = dataset.record
    if split == "pretrain" and not record.own_pretrain_split:
        split = "train"
    try:
        return record.read(dataset, split, root)
    except UserError:
        raise
    except Exception as error:
        where, cure = _whereabouts(dataset, root)
        raise UserError(
            f"{dataset.name} is missing or damaged: looked for {where} ({_first_line(error)}); {cure}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _whereabouts(dataset: DataSet, root: Path) -> tuple[str, str]:
    if dataset.path:
        return str(located(dataset.path)), "see the README, “Your own images”, for what it must hold"
    cure = "set RECON_DATA or paths.data to the folder that holds it"
    if dataset.record.fetch:
        call = dataset.record.fetch.format(root=str(root))
        cure += f', or fetch it: python -c "from torchvision.datasets import *; {call}"'
    folder, patterns = dataset.files(root)
    return str(folder / patterns[0]), cure


def from_array(images: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> ImageSource:
    """`images` (n, H, W) or (n, H, W, C) uint8."""
    images, labels = torch.as_tensor(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    sound = images.ndim == 4 and images.dtype == torch.uint8 and images.numel() and labels.shape == images.shape[:1]
    if not sound or images.shape[3] not in (1, 3):
        raise ValueError(
            f"images {tuple(images.shape)} {images.dtype} with labels {labels.shape}; expected (n, H, W) or "
            "(n, H, W, C) uint8, with 1 or 3 channels, and (n,) labels"
        )
    if labels.dtype.kind not in "iuf" or (labels % 1 != 0).any():
        raise ValueError(f"labels ({labels.dtype}) are to be whole numbers: the classes, from 0 on")
    if labels.min() < 0:
        raise ValueError("labels must be 0 or more")
    if labels.max() >= MOST_CLASSES:
        raise ValueError(f"labels must be below {MOST_CLASSES}: the classes, numbered from 0 on")
    labels = labels.astype(np.int64)
    images = images.permute(0, 3, 1, 2)
    return ImageSource(labels, lambda indices: images[torch.as_tensor(indices)].contiguous())


def from_npz(path: Path, split: Split) -> ImageSource:
    with np.load(path, allow_pickle=False) as file:
        return from_array(file[f"{split}_images"], file[f"{split}_labels"])


def decode_all(files: Sequence[str]) -> None:
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(decode, files):
            pass


def decode(file: str | Path) -> torch.Tensor:
    try:
        with Image.open(file) as image:
            return functional.pil_to_tensor(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: cannot be read as a picture ({_first_line(error)}); mend or remove it") from error
