"""What a method of gradient inversion is: a name, its settings, and what it makes of a gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.settings import Settings

if TYPE_CHECKING:
    import torch

    from pipeline.gradient_inversion.attack import Inversion
    from pipeline.gradient_inversion.layers import Chain
    from pipeline.gradient_inversion.step import Exposure, Gradient

Run = Callable[["Chain", "Gradient", int, Settings, "torch.Generator", "Exposure | None"], "Inversion"]
"""(network, gradient (N, *shape) of every parameter, images B behind each, settings, generator, exposure) → Inversion;
by default the gradient is taken as rounded to the type that it comes in."""


@dataclass(frozen=True)
class Method:
    """`name` in the list `attacks:` and of the key with its settings; `batches`: it takes gradients of several images,
    too. `run` imports torch when it is called, so that checking an experiment does not wait for it."""

    name: str
    settings: type[Settings]
    run: Run
    batches: bool = False
