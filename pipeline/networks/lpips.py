"""LPIPS (Zhang et al. 2018) on ImageNet weights: of the reconstructor's loss, and of the metric."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.weight_files import read_state

Perceptual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of two stacks of images (B, C, S, S) in [-1, 1]: (B, 1, 1, 1)."""


def perceptual_network(
    name: str, device: torch.device, weights: Path | None = None, part: str = "reconstructor"
) -> Perceptual | None:
    """LPIPS (Zhang et al. 2018) on `vgg` or `alex`, frozen; None for `none`.

    `weights`: a file of torchvision's vgg16 or alexnet; none = torchvision's cache, or its download. `part` of the
    experiment is what an error names. Raises UserError where the weights are not to be had.
    """
    if name == "none":
        return None
    import lpips

    try:
        with warnings.catch_warnings(action="ignore"):  # lpips asks torchvision in an old way
            network = lpips.LPIPS(net=name, verbose=False, pnet_rand=weights is not None)
        if weights:
            published = read_state(Path(weights), str(weights))
            # lpips cuts torchvision's `features` into slices and keeps their numbers
            own = {key: published[f"features.{key.partition('.')[2]}"] for key in network.net.state_dict()}
            network.net.load_state_dict(own)
    except Exception as error:  # a download, an unpickling or a state dict fails in ways of its own
        where = f"lpips_weights={weights}" if weights else f"lpips={name}"
        raise UserError(
            f"{part}.{where}: the ImageNet weights of {name} are not to be had "
            f"({' '.join(f'{type(error).__name__}: {error}'.split())[:120]}); name torchvision's file in "
            f"{part}.lpips_weights, put it into {torch.hub.get_dir()}/checkpoints, "
            f"or set {part}.lpips=none"
        ) from error
    network = network.to(device).requires_grad_(False).eval()
    return lambda first, second: network(first, second)
