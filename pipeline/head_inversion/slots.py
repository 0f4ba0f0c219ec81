"""In which order a head's training images are recovered, since weights alone do not number them.

A slot is a place in that order. Classes come as they are dealt; within a class the image with the largest coefficient
comes first, because nothing in the weights tells the images of a class apart but how far each has moved them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slots:
    """classes (N,): the class whose prior belongs to each slot; blocks: numbers of slots that may change places.

    own (N,): the row whose coefficient says how far an image has moved its own class; none = the length of its column.
    """

    classes: Tensor
    blocks: tuple[int, ...]
    own: Tensor | None

    @classmethod
    def of(cls, labels: Tensor, class_size: int, task: str, *, linear: bool, foreign: bool) -> "Slots":
        """labels (N,): those that the images of a training set have for the head, in the order of the deal.

        `linear`: the rows are logits, one a class, rather than hidden units. `foreign` images carry random labels, and
        an identity's photos are of no class: there all share one prior.
        """
        images = len(labels)
        if task == "identity":
            return cls(torch.zeros(images, dtype=torch.int64), (class_size, images - class_size), None)
        classes = torch.arange(images) // class_size
        own = labels.long() if linear and task == "multiclass" else None
        prior = torch.zeros_like(classes) if foreign else classes
        return cls(prior, (class_size,) * (images // class_size), own)

    def tensors(self) -> dict[str, Tensor]:
        """For storing; see `from_tensors`."""
        own = torch.empty(0, dtype=torch.int64) if self.own is None else self.own
        return {"slot_classes": self.classes, "slot_blocks": torch.tensor(self.blocks), "slot_own": own}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Slots":
        own = tensors["slot_own"]
        return cls(tensors["slot_classes"], tuple(tensors["slot_blocks"].tolist()), own if len(own) else None)

    def order(self, coefficients: Tensor) -> Tensor:
        """(M, N) for each model the dealt places of its images, slot by slot; coefficients (M, R, N) as dealt."""
        if self.own is None:
            size = coefficients.square().sum(1)
        else:
            index = self.own.to(coefficients.device)[None, None].expand(len(coefficients), 1, -1)
            size = coefficients.gather(1, index)[:, 0]
        starts = torch.tensor((0, *self.blocks)).cumsum(0)[:-1].tolist()
        parts = [
            start + block.argsort(dim=1, descending=True, stable=True)
            for start, block in zip(starts, size.split(self.blocks, 1), strict=True)
        ]
        return torch.cat(parts, 1)

    @property
    def ranks(self) -> Tensor:
        """(N,) the rank of each slot within its class, from 0."""
        return torch.cat([torch.arange(size) for size in self.blocks])
