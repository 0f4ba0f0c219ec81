"""R-GAP (Zhu, Blaschko; 2020; arXiv 2010.07733): recursive least squares on dense stacks of all constraints.

Meant for networks without biases and with one logit, whose size its head settles as R-CONV's does. Each layer's weight
and gradient rows form one dense system, so that time and memory grow with the cube of a layer's input.
"""

from typing import TYPE_CHECKING

from pipeline.gradient_inversion.method import Method
from pipeline.settings import Settings

if TYPE_CHECKING:
    import torch

    from pipeline.gradient_inversion.attack import Inversion
    from pipeline.gradient_inversion.layers import Chain
    from pipeline.gradient_inversion.step import Exposure, Gradient


class RGap(Settings):
    """R-GAP (arXiv 2010.07733); it has no settings."""


def run(
    network: "Chain",
    gradient: "Gradient",
    batch_size: int,
    settings: RGap,
    generator: "torch.Generator",
    exposure: "Exposure | None" = None,
) -> "Inversion":
    """Nothing is drawn from `generator`."""
    from pipeline.gradient_inversion.attack import attack
    from pipeline.gradient_inversion.convolution_input import stacked_input

    return attack(network, gradient, pixel_range=(0.0, 1.0), exposure=exposure, layer_input=stacked_input)


METHODS = (Method("r_gap", RGap, run),)
