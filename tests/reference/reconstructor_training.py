"""The published reconstructor, written out as its paper describes it (arXiv 2505.14323): the referee of ours.

Layer by layer, in PyTorch's default layout, with its default Adam; parameters have the published names.
"""

import torch
from torch import nn
from torch.nn import functional


class PlainBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.bypass = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x):
        straight = functional.interpolate(functional.relu(self.bn1(x)), scale_factor=2, mode="nearest")
        straight = self.conv2(functional.relu(self.bn2(self.conv1(straight))))
        return straight + self.bypass(functional.interpolate(x, scale_factor=2, mode="nearest"))


class PlainReconstructor(nn.Module):
    """z (B, P), and the class (B,) of a conditional one → images (B, C, S, S)."""

    def __init__(self, inputs: int, channels: int, size: int, width: int, classes: int = 0):
        super().__init__()
        self.classes = classes
        self.convT = nn.ConvTranspose2d(inputs + classes, 4 * width, 4)
        blocks = [PlainBlock(4 * width, 2 * width), PlainBlock(2 * width, width)]
        blocks += [PlainBlock(width, width) for _ in range({16: 0, 32: 1, 64: 2}[size])]
        self.model = nn.Sequential(*blocks)
        self.final = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, z, label=None):
        if self.classes:
            z = torch.cat([z, functional.one_hot(label, self.classes).float()], 1)
        return self.final(self.model(self.convT(z[:, :, None, None])))


def plain_step(network, optimizer, z, label, candidates) -> torch.Tensor:
    """One step of the published training: ½(MSE + MAE), soft minimum over the candidates (B, J, C, S, S)."""
    images = network(z, label)
    difference = images[:, None] - candidates
    error = 0.5 * (difference.square().mean((2, 3, 4)) + difference.abs().mean((2, 3, 4)))
    loss = (error * torch.softmax(-100 * error, 1)).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
