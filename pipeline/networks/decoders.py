"""The networks that turn what is read of a head into an image."""

from itertools import pairwise
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from pipeline.networks import reconstructor
from pipeline.networks.reconstructor import Reconstructor
from pipeline.networks.settings import Network


class Decoder(Protocol):
    """inputs (B, `inputs`) and, where `classes` > 0, labels (B,) → images (B, channels, size, size) in (-1, 1)."""

    inputs: int
    classes: int

    def __call__(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor: ...


class FullyConnected(nn.Module):
    """Three hidden layers of `width` (GELU) and tanh, on the inputs and the one-hot class.

    Features leave little to work out: on a CPU, whose convolutions wait for memory, this learns sooner than the
    published network (benchmarks/time_to_quality.py).
    """

    def __init__(self, inputs: int, channels: int, size: int, width: int, classes: int = 0):
        super().__init__()
        self.inputs, self.classes = inputs, classes
        self.shape = (channels, size, size)
        sizes = (inputs + classes, width, width, width)
        self.hidden = nn.Sequential(
            *(layer for below, above in pairwise(sizes) for layer in (nn.Linear(below, above), nn.GELU()))
        )
        self.final = nn.Linear(width, channels * size * size)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """float32 under autocast, too."""
        if self.classes:
            z = torch.cat([z, functional.one_hot(label, self.classes).to(z)], 1)
        return torch.tanh(self.final(self.hidden(z)).float()).unflatten(1, self.shape)


NETWORKS = {"published": Reconstructor, "fully_connected": FullyConnected}


def build(
    kind: Network, inputs: int, channels: int, size: int, width: int, classes: int
) -> Reconstructor | FullyConnected:
    """`width`: g of the published network, the hidden width of the fully connected one."""
    return NETWORKS[kind](inputs, channels, size, width, classes)


def initialise(network: Reconstructor | FullyConnected, generator: torch.Generator) -> None:
    """The published law for the published network; PyTorch's default for the other."""
    if isinstance(network, Reconstructor):
        reconstructor.initialise(network, generator)
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
