"""The reconstruction loss: ½(MSE + MAE), with LPIPS where it is asked for, and the soft minimum over candidates."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.weight_files import read_state

Perceptual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def reconstruction_loss(
    images: torch.Tensor,
    candidates: torch.Tensor,
    sharpness: float,
    perceptual: Perceptual | None = None,
    absolute_error: float = 0.5,
) -> torch.Tensor:
    """Mean over the batch of Σ_j e_j softmax_j(−sharpness · e_j), with e = (1 − a) MSE + a MAE [+ LPIPS], a = ½ as
    published unless `absolute_error` says otherwise.

    `images` (B, C, S, S) against `candidates` (B, J, C, S, S), both in [-1, 1]. For J = 1 this is the mean of e.
    """
    difference = images[:, None] - candidates
    squares, sizes = difference.square().mean((2, 3, 4)), difference.abs().mean((2, 3, 4))
    error = (1 - absolute_error) * squares + absolute_error * sizes
    if perceptual:
        repeated = images[:, None].expand_as(candidates)
        error = error + perceptual(repeated.flatten(0, 1), candidates.flatten(0, 1)).view_as(error)
    if candidates.shape[1] == 1:
        return error.mean()
    return (error * torch.softmax(-sharpness * error, 1)).sum(1).mean()


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
