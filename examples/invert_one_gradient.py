"""Rebuild the image that one step of training saw from its gradient: python -m examples.invert_one_gradient

Any network of convolutions and fully connected layers will do; `read_network` refuses others and says which layer.
"""

from pathlib import Path

import torch
from torch import nn

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.step import gradients_of_steps


def main() -> float:
    """Returns the mean squared error of the reconstruction, of pixels in [0, 1]."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 12, 5, padding=2), nn.Sigmoid(), nn.Conv2d(12, 12, 5, padding=2), nn.Sigmoid()),
        *(nn.Flatten(), nn.Linear(12 * 16 * 16, 10)),
    ).double()
    digits = load(DataSet(name="mnist_digits"), "test", Path())
    image, label = target_images(digits, 16)[:1].double() / 255, torch.as_tensor(digits.labels[:1])

    gradient = gradients_of_steps(network, image[:, None], label[:, None])  # one step, on a batch of one image
    found = attack(read_network(network, (1, 16, 16)), gradient)

    error = (found.estimate[0] - image).square().mean().item()
    print(f"label {found.labels[0].item()}, true {label.item()}; MSE {error:.1e}; {found.refusals[0] or 'certified'}")
    return error


if __name__ == "__main__":
    main()
