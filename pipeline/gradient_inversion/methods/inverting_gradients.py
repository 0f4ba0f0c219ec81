"""Inverting Gradients (Geiping, Bauermeister, Dröge, Moeller; 2020; arXiv 2003.14053).

Adam on the sign of the derivative of 1 − cos(∇', ∇) + `total_variation` · TV(x), the rate cut by 10 at 3/8, 5/8 and 7/8
of the way, pixels kept in [0, 1].
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from pipeline.gradient_inversion.method import Method
from pipeline.settings import Settings

if TYPE_CHECKING:
    import torch

    from pipeline.gradient_inversion.attack import Inversion
    from pipeline.gradient_inversion.layers import Chain
    from pipeline.gradient_inversion.step import Exposure, Gradient


class InvertingGradients(Settings):
    """Inverting Gradients (arXiv 2003.14053); `total_variation` is the weight of that term beside 1 − cos."""

    iterations: PositiveInt = Field(default=4800, description="of Adam")
    rate: PositiveFloat = Field(default=0.1, description="learning rate")
    total_variation: NonNegativeFloat = Field(default=1e-2, description="weight of the total variation beside 1 − cos")


def run(
    network: "Chain",
    gradient: "Gradient",
    batch_size: int,
    settings: InvertingGradients,
    generator: "torch.Generator",
    exposure: "Exposure | None" = None,
) -> "Inversion":
    import torch

    from pipeline.gradient_inversion.optimisation import dummy, invert_one_by_one
    from pipeline.gradient_inversion.step import gradient_of_step

    def reconstruct(given: "list[torch.Tensor]", label: "torch.Tensor") -> "torch.Tensor":
        image = dummy(network.image_shape, generator)
        optimizer = torch.optim.Adam([image], lr=settings.rate)
        milestones = [settings.iterations * eighths // 8 for eighths in (3, 5, 7)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
        for _ in range(settings.iterations):
            own = gradient_of_step(network.module, image, label, create_graph=True)
            loss = _cosine_distance(own, given) + settings.total_variation * _total_variation(image)
            image.grad = torch.autograd.grad(loss, image)[0].sign()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                image.clamp_(0, 1)
        return image.detach()

    return invert_one_by_one(network, gradient, reconstruct, exposure)


def _cosine_distance(own: "Sequence[torch.Tensor]", given: "Sequence[torch.Tensor]") -> "torch.Tensor":
    product = sum((a * b).sum() for a, b in zip(own, given, strict=True))
    own_size, given_size = (sum(part.square().sum() for part in side).sqrt() for side in (own, given))
    return 1 - product / (own_size * given_size)


def _total_variation(image: "torch.Tensor") -> "torch.Tensor":
    return image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()


METHODS = (Method("inverting_gradients", InvertingGradients, run),)
