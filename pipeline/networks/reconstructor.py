"""The reconstructor: standardised weights (and a class) → an image, by residual up-sampling blocks."""

from collections.abc import Mapping
from itertools import pairwise
from re import fullmatch

import torch
from torch import nn
from torch.nn import functional

from pipeline.errors import UserError


def convolution_of_doubled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The 3×3 convolution (padding 1) of x (B, I, S, S) after nearest ×2: (B, O, 2S, 2S). `weight` is (O, I, 3, 3).

    Every output pixel sees only 2×2 different inputs, so this is a transposed convolution of stride 2 whose 4×4 kernel
    is the 3×3 one smeared over a doubled pixel: 4/9 of the multiplications, and the doubled image is never made.
    """
    turned = functional.pad(weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
    kernel = turned[..., :4, :4] + turned[..., 1:, :4] + turned[..., :4, 1:] + turned[..., 1:, 1:]
    return functional.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


class UpBlock(nn.Module):
    """BatchNorm, ReLU, nearest ×2, 3×3, BatchNorm, ReLU, 3×3, beside a by-pass of nearest ×2.

    The by-pass has a 1×1 convolution where the channels change; elsewhere it is the identity, as published.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.bypass = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        straight = functional.relu(self.bn1(x), inplace=True)
        straight = convolution_of_doubled(straight, self.conv1.weight, self.conv1.bias)
        straight = self.conv2(functional.relu(self.bn2(straight), inplace=True))
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
        """`label` (B,) int64 is the class to rebuild, for a conditional reconstructor. float32 under autocast, too."""
        if self.classes:
            z = torch.cat([z, functional.one_hot(label, self.classes).to(z)], 1)
        # on a 1×1 input the transposed convolution is a matrix product
        x = (z @ self.convT.weight.flatten(1)).unflatten(1, (-1, 4, 4)) + self.convT.bias[:, None, None]
        features = self.final[:-1](self.model(x.contiguous(memory_format=torch.channels_last)))
        return torch.tanh(features.float())


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


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A published checkpoint's state dict (arXiv 2505.14323) under this network's names; raises UserError.

    There every tensor stands under several names: a block's layers as `model.k.conv1` … and again as
    `model.k.model.3` …, the last convolution as `final` and inside `model`; blocks that keep their channels store a
    by-pass convolution that their forward pass never uses.
    """
    blocks = sorted({int(name.split(".")[1]) for name in state if fullmatch(r"model\.\d+\.model\.0\.weight", name)})
    last = f"model.{len(blocks)}"
    if not blocks or f"{last}.running_mean" not in state or "final.weight" not in state:
        raise UserError(
            "is neither a published reconstructor (model.k.model.0 …, final.weight) nor one of this project"
        )
    found = {name: state[name] for name in ("convT.weight", "convT.bias")}
    layers = {"model.0": "bn1", "model.3": "conv1", "model.4": "bn2", "model.6": "conv2", "bypass.1": "bypass"}
    for name, tensor in state.items():
        for published, own in layers.items():
            if match := fullmatch(rf"(model\.\d+)\.{published}\.(\w+)", name):
                found[f"{match[1]}.{own}.{match[2]}"] = tensor
        if match := fullmatch(rf"{last}\.(\w+)", name):
            found[f"final.0.{match[1]}"] = tensor
    return found | {f"final.2.{part}": state[f"final.{part}"] for part in ("weight", "bias")}


def is_of_earlier_layout(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict has a by-pass convolution between equal channels: what this project trained before it had
    the published network."""
    shapes = [tensor.shape for name, tensor in state.items() if fullmatch(r"model\.\d+\.bypass\.weight", name)]
    return any(shape[0] == shape[1] for shape in shapes)
