"""R-CONV (arXiv 2406.04227), as this project has it: the network is inverted layer by layer, with a certificate."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from pipeline.gradient_inversion.method import Method
from pipeline.settings import Settings

if TYPE_CHECKING:
    import torch

    from pipeline.gradient_inversion.attack import Inversion
    from pipeline.gradient_inversion.layers import Chain
    from pipeline.gradient_inversion.step import Exposure, Gradient


class RConv(Settings):
    """R-CONV (arXiv 2406.04227) with whole batches."""

    refine: bool = Field(default=False, description="then fit noisy gradients by least squares")
    starts_per_image: PositiveInt = Field(
        default=100, description="of the search that un-mixes batches behind a hidden layer; bounds its time"
    )


def run(
    network: "Chain",
    gradient: "Gradient",
    batch_size: int,
    settings: RConv,
    generator: "torch.Generator",
    exposure: "Exposure | None" = None,
) -> "Inversion":
    """Nothing is drawn from `generator`."""
    from pipeline.gradient_inversion.attack import attack
    from pipeline.gradient_inversion.certificate import certify
    from pipeline.gradient_inversion.refinement import refine

    found = attack(
        network,
        gradient,
        batch_size=batch_size,
        pixel_range=(0.0, 1.0),
        exposure=exposure,
        starts_per_image=settings.starts_per_image,
    )
    if not settings.refine:
        return found
    estimate = refine(network, gradient, found.estimate, found.labels, exposure)
    exact = {name: part.double() for name, part in gradient.items()}
    residual, labels = certify(network, exact, estimate, found.labels, exposure)
    return replace(found, estimate=estimate, residual=residual, labels=labels)


METHODS = (Method("r_conv", RConv, run, batches=True),)
