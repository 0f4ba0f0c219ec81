"""What a reconstructor is shown of a head: its standardised weights, or the features that inverting it gives."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

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
