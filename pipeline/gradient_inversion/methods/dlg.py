"""Deep Leakage from Gradients (Zhu, Liu, Han; 2019; arXiv 1906.08935) and iDLG (Zhao, Mopuri, Bilen; 2020; 2001.02610).

L-BFGS on a dummy image for ‖∇' − ∇‖²: with a dummy soft label beside it, both from N(0, 1), or, iDLG, with the label
read off the gradient's sign.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.gradient_inversion.method import Method
from pipeline.settings import Settings

if TYPE_CHECKING:
    import torch

    from pipeline.gradient_inversion.attack import Inversion
    from pipeline.gradient_inversion.layers import Chain
    from pipeline.gradient_inversion.step import Exposure, Gradient


class LBFGS(Settings):
    """DLG and iDLG: by default as published (arXiv 1906.08935, 2001.02610)."""

    iterations: PositiveInt = Field(default=300, description="of L-BFGS")
    rate: PositiveFloat = Field(default=1.0, description="length of a step")


def run(
    network: "Chain",
    gradient: "Gradient",
    batch_size: int,
    settings: LBFGS,
    generator: "torch.Generator",
    exposure: "Exposure | None" = None,
    *,
    soft_label: bool,
) -> "Inversion":
    from pipeline.gradient_inversion.optimisation import dummy, invert_one_by_one

    def reconstruct(given: "list[torch.Tensor]", label: "torch.Tensor") -> "torch.Tensor":
        image = dummy(network.image_shape, generator)
        if not soft_label:
            return _least_squares(network, given, image, lambda: label, [image], settings)
        target = dummy((len(network.head[-1].weight),), generator)
        return _least_squares(network, given, image, lambda: target.softmax(-1), [image, target], settings)

    return invert_one_by_one(network, gradient, reconstruct, exposure)


def _least_squares(
    network: "Chain",
    given: "list[torch.Tensor]",
    image: "torch.Tensor",
    target: "Callable[[], torch.Tensor]",
    variables: "list[torch.Tensor]",
    settings: LBFGS,
) -> "torch.Tensor":
    """At most `iterations` steps of PyTorch's L-BFGS (20 inner ones each), as both papers use it."""
    import torch

    from pipeline.gradient_inversion.step import gradient_of_step

    optimizer = torch.optim.LBFGS(variables, lr=settings.rate)

    def closure() -> "torch.Tensor":
        optimizer.zero_grad()
        own = gradient_of_step(network.module, image, target(), create_graph=True)
        loss = sum((a - b).square().sum() for a, b in zip(own, given, strict=True))
        for variable, derivative in zip(variables, torch.autograd.grad(loss, variables), strict=True):
            variable.grad = derivative
        return loss

    for _ in range(settings.iterations):
        loss = optimizer.step(closure)
        if not torch.isfinite(loss) or loss < 1e-20:
            break
    return image.detach()


METHODS = (
    Method("dlg", LBFGS, partial(run, soft_label=True)),
    Method("idlg", LBFGS, partial(run, soft_label=False)),
)
