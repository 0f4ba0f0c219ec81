"""The reconstructor: standardised weights (and a class) → an image, by residual up-sampling blocks."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class UpBlock(nn.Module):
    """BatchNorm, ReLU, nearest ×2, 3×3, BatchNorm, ReLU, 3×3, beside a nearest ×2 with a 1×1 convolution."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.bypass = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        straight = self.conv1(functional.interpolate(functional.relu(self.bn1(x)), scale_factor=2))
        straight = self.conv2(functional.relu(self.bn2(straight)))
        return straight + functional.interpolate(self.bypass(x), scale_factor=2)


class Reconstructor(nn.Module):
    """z (B, inputs) → images (B, channels, size, size) in (-1, 1).

    A transposed convolution lays z out as 4×4 with 4g channels; blocks 4g→2g→g→g (one more g→g for 64×64) double the
    side; BatchNorm, ReLU, 3×3 and tanh end it. With `classes` > 0 the input is z with the one-hot class behind it.
    """

    def __init__(self, inputs: int, channels: int, size: int, width: int, classes: int = 0):
        super().__init__()
        self.inputs, self.classes = inputs, classes
        widths = [4 * width, 2 * width, width, width, width][: size.bit_length() - 2]
        if 4 << (len(widths) - 1) != size:
            raise ValueError(f"the reconstructor makes images of 16, 32 or 64 pixels a side, not {size}")
        self.convT = nn.ConvTranspose2d(inputs + classes, 4 * width, 4)
        self.model = nn.Sequential(*(UpBlock(below, above) for below, above in pairwise(widths)))
        self.final = nn.Sequential(
            nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], channels, 3, padding=1), nn.Tanh()
        )
        # the convolutions run faster with channels last; the matrix product of the first layer would have to copy them
        self.model.to(memory_format=torch.channels_last)
        self.final.to(memory_format=torch.channels_last)

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """`label` (B,) int64 is the class to rebuild, for a conditional reconstructor."""
        if self.classes:
            z = torch.cat([z, functional.one_hot(label, self.classes).to(z)], 1)
        # on a 1×1 input the transposed convolution is a matrix product
        x = (z @ self.convT.weight.flatten(1)).unflatten(1, (-1, 4, 4)) + self.convT.bias[:, None, None]
        return self.final(self.model(x))


def initialise(network: Reconstructor, generator: torch.Generator) -> None:
    """Kaiming-uniform (gain of a linear map for the transposed convolution), Xavier with tanh's gain at the end."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    nn.init.kaiming_uniform_(network.convT.weight, nonlinearity="linear", generator=generator)
    nn.init.zeros_(network.convT.bias)
    last = network.final[2]
    nn.init.xavier_uniform_(last.weight, nn.init.calculate_gain("tanh"), generator=generator)
