"""What a reconstructor is shown of a head: its standardised weights, or the features that inverting it gives."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pipeline.head_inversion.inversion import HeadInversion, Recovered
from pipeline.statistics import Standardisation


@dataclass(frozen=True)
class Reading:
    """Of V heads and G reconstructions each: inputs (V, G, width), and the class (V, G) that goes with each, if any.

    `slots` (V, G): which of the recovered images each is; None when weights are read.
    """

    inputs: Tensor
    labels: Tensor | None
    slots: Tensor | None = None

    def __getitem__(self, heads) -> "Reading":
        """Some of the heads, by a slice or an index (V',)."""
        parts = {"inputs": self.inputs, "labels": self.labels, "slots": self.slots}
        return replace(self, **{name: None if part is None else part[heads] for name, part in parts.items()})


class Reader(Protocol):
    width: int
    classes: int

    def read(self, weights: Tensor) -> Reading:
        """Of heads (V, P)."""

    def read_standardised(self, z: Tensor) -> Reading:
        """Of standardised weights (V, P'), which is how those of no model are drawn."""


class WeightReader:
    """The published reading: every reconstruction of a head sees all its standardised weights (V, P').

    groups: G, reconstructions a head. classes: G when each is of a class that the network is told, else 0.
    """

    def __init__(self, standardise: Standardisation, groups: int, *, conditional: bool):
        self.standardise, self.groups = standardise, groups
        self.classes = groups if conditional else 0
        self.width = len(standardise.mean)

    def read(self, weights: Tensor) -> Reading:
        return self.read_standardised(self.standardise.apply(weights))

    def read_standardised(self, z: Tensor) -> Reading:
        labels = torch.arange(self.groups, device=z.device).expand(len(z), -1) if self.classes else None
        return Reading(z[:, None].expand(-1, self.groups, -1), labels)


class FeatureReader:
    """Features of the images behind a head, centred and whitened, and the class that each belongs to.

    Conditional: of every class the image that has moved the head most. Unconditional: the one image whose features are
    surest; of an identity's photos the first.
    """

    def __init__(self, inversion: HeadInversion, mode: str, task: str, restore: Callable[[Tensor], Tensor] | None):
        """`restore` makes weights of standardised ones, where such are to be read."""
        self.inversion, self.restore = inversion, restore
        self.width = inversion.width
        self.classes = len(inversion.prior_means) if len(inversion.prior_means) > 1 else 0
        ranks = inversion.slots.ranks.to(inversion.means.device)
        leading = (ranks == 0).nonzero()[:, 0]
        if task == "identity":
            leading = leading[:1]
        self.leading, self.one = leading, mode == "unconditional"

    def read(self, weights: Tensor) -> Reading:
        recovered = self.inversion.invert(weights)
        return self.reading_of(recovered)

    def read_standardised(self, z: Tensor) -> Reading:
        return self.read(self.restore(z))

    def reading_of(self, recovered: Recovered) -> Reading:
        slots = self.leading.expand(len(recovered.features), -1)
        if self.one:
            slots = self.leading[recovered.error[:, self.leading].argmin(1, keepdim=True)]
        inputs = recovered.features.gather(1, slots[:, :, None].expand(-1, -1, self.width))
        labels = self.inversion.slots.classes.to(slots.device)[slots] if self.classes else None
        return Reading(inputs, labels, slots)
