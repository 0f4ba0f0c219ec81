"""The images that trained the head under audit, as their owner has them: an .npz file, or a folder of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import functional

from pipeline import located
from pipeline.audit.settings import IMAGES
from pipeline.data.sets.own import class_folders, from_folder
from pipeline.data.settings import DataSet
from pipeline.data.sources import ImageSource, from_array
from pipeline.errors import UserError

FOLDER_HOLDS = "a folder holds a folder of images for each class"
NPZ_HOLDS = "an .npz file holds images (n, H, W[, C]) uint8 and labels (n,), and may hold class_names"


@dataclass(frozen=True)
class PrivateImages:
    """`source` in the order that shadow models are dealt, class after class; `names`: of each class, for people."""

    source: ImageSource
    names: tuple[str, ...]


def read_private_images(path: str, data: DataSet, classes: int, class_size: int) -> PrivateImages:
    """The private images of one head of `classes` logits, trained on `class_size` images of every class.

    Images come as the adversary's do: grey where those are grey, else in colour. Raises UserError for files without
    labels, labels that are no class of the head, and classes with another number of images.
    """
    place = located(path)
    try:
        source, names = _from_folder(place, data) if place.is_dir() else _from_npz(place)
    except UserError:
        raise
    except Exception as error:  # files that are no images or no arrays fail in as many ways as the formats have parts
        reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
        valid = FOLDER_HOLDS if place.is_dir() else NPZ_HOLDS
        raise UserError(f"{IMAGES}: {place.name} cannot be read ({reason}); {valid}") from error
    labels = source.labels
    if outside := sorted({int(label) for label in labels if not 0 <= label < classes}):
        raise UserError(
            f"{IMAGES}: {place.name} has images of class {outside[0]}, and the head's classes are 0 … {classes - 1} "
            "(shadow_models.training.classes)"
        )
    counts = np.bincount(labels, minlength=classes)
    if (wrong := np.flatnonzero(counts != class_size)).size:
        raise UserError(
            f"{IMAGES}: {place.name} has {counts[wrong[0]]} images of class {wrong[0]}; the recipe trains on "
            f"{class_size} of every class (shadow_models.class_size)"
        )
    channels = data.channels
    ordered = source.part(np.argsort(labels, kind="stable"))
    coloured = ImageSource(ordered.labels, lambda indices: _with_channels(ordered.read(indices), channels))
    return PrivateImages(coloured, names or tuple(f"class {number}" for number in range(classes)))


def _from_npz(place: Path) -> tuple[ImageSource, tuple[str, ...]]:
    with np.load(place, allow_pickle=False) as file:
        if lacking := [name for name in ("images", "labels") if name not in file]:
            raise UserError(f"{IMAGES}: {place.name} has no {lacking[0]} (it has {', '.join(file)}); {NPZ_HOLDS}")
        names = tuple(map(str, file["class_names"])) if "class_names" in file else ()
        return from_array(file["images"], file["labels"]), names


def _from_folder(place: Path, data: DataSet) -> tuple[ImageSource, tuple[str, ...]]:
    """A class is numbered as the adversary's folder of that name, or by its name where that is a number."""
    source, found = from_folder(place)
    known = class_folders(data)
    if known is None:
        known = found if not all(name.isdecimal() for name in found) else None
    numbers = [int(name) if known is None else _place(name, known, place) for name in found]
    labels = np.array(numbers, dtype=np.int64)[source.labels]
    return ImageSource(labels, source.read), tuple(known or found)


def _place(name: str, known: Sequence[str], place: Path) -> int:
    if name not in known:
        raise UserError(
            f"{IMAGES}: {place.name} has a class {name}, which the adversary's images do not have: {', '.join(known)}"
        )
    return known.index(name)


def _with_channels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Grey photos in a file of three channels keep their bytes."""
    if images.shape[1] == channels:
        return images
    if channels > 1:
        return images.expand(-1, channels, -1, -1)
    return images[:, :1] if (images == images[:, :1]).all() else functional.rgb_to_grayscale(images)
