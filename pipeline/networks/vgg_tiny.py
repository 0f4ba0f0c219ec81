"""VGG-tiny: the backbone for 32×32 grey images (h = 4, arXiv 2505.14323)."""

import torch
from torch import nn


class VGGTiny(nn.Module):
    """(B, 1, 32, 32) in [-1, 1] → 256 features, not negative.

    3×3 convolutions 1→h→2h, pool, →4h→4h→8h→8h, pool, →8h→8h, pool, with ReLU after each; two linear layers of 256.
    """

    def __init__(self, width: int = 4):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for block in ((1, 2), (4, 4, 8, 8), (8, 8)):
            for factor in block:
                layers += [nn.Conv2d(channels, factor * width, 3, padding=1), nn.ReLU()]
                channels = factor * width
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Sequential(nn.Linear(channels * 16, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolutions(images).flatten(1))


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Linear weights N(0, 0.01²), convolutions Kaiming-normal by fan-out, biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
