"""CelebA: photographs of people, dealt by identity."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.record import Record, Split

if TYPE_CHECKING:
    from pipeline.data.settings import DataSet
    from pipeline.data.sources import ImageSource

CELEBA_SIDES = 232, 224
"""Photos are resized to a short side of 232 and cropped to 224, bicubically, as published."""


def read(dataset: "DataSet", split: Split, root: Path) -> "ImageSource":
    """Identities of torchvision's train and valid splits are ours to train on; its test identities are held out. Photos
    come as the published programs cut them."""
    import numpy as np
    import torch
    from torchvision import datasets
    from torchvision.transforms import functional

    from pipeline.data.resizing import to_short_side
    from pipeline.data.sources import ImageSource, decode

    names = {"train": ("train", "valid"), "pretrain": ("train",), "test": ("test",)}[split]
    parts = [datasets.CelebA(root, part) for part in names]
    files = [Path(part.root) / part.base_folder / "img_align_celeba" / name for part in parts for name in part.filename]
    identities = torch.cat([part.identity for part in parts]).flatten().numpy()
    attributes = torch.cat([part.attr for part in parts]).numpy().astype(np.uint8)
    labels = np.unique(identities, return_inverse=True)[1].astype(np.int64)
    short, side = CELEBA_SIDES

    def cut(file: Path) -> torch.Tensor:
        return functional.center_crop(to_short_side(decode(file), short), [side, side])

    return ImageSource(labels, lambda indices: torch.stack([cut(files[i]) for i in indices]), attributes, bicubic=True)


RECORDS = (
    Record(
        name="celeba",
        read=read,
        about="202,599 photographs of 10,177 people; classes are identities, and 40 yes-or-no attributes go with each",
        licence="non-commercial research only",
        files=("celeba/*.txt", "celeba/img_align_celeba/*"),
        size=64,
        fetch="CelebA({root!r}, 'all', download=True)",
        own_pretrain_split=True,
    ),
)
