"""The reconstruction loss: ½(MSE + MAE), with LPIPS where it is asked for, and the soft minimum over candidates."""

from collections.abc import Callable

import torch

from pipeline.errors import UserError

Perceptual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def reconstruction_loss(
    images: torch.Tensor, candidates: torch.Tensor, sharpness: float, perceptual: Perceptual | None = None
) -> torch.Tensor:
    """Mean over the batch of Σ_j e_j softmax_j(−sharpness · e_j), with e = ½(MSE + MAE) [+ LPIPS].

    `images` (B, C, S, S) against `candidates` (B, J, C, S, S), both in [-1, 1]. For J = 1 this is the mean of e.
    """
    difference = images[:, None] - candidates
    error = 0.5 * (difference.square().mean((2, 3, 4)) + difference.abs().mean((2, 3, 4)))
    if perceptual:
        repeated = images[:, None].expand_as(candidates)
        error = error + perceptual(repeated.flatten(0, 1), candidates.flatten(0, 1)).view_as(error)
    if candidates.shape[1] == 1:
        return error.mean()
    return (error * torch.softmax(-sharpness * error, 1)).sum(1).mean()


def perceptual_network(name: str, device: torch.device) -> Perceptual | None:
    """LPIPS (Zhang et al. 2018) on `vgg` or `alex`, frozen; None for `none`. Raises UserError where weights lack."""
    if name == "none":
        return None
    import lpips

    try:
        network = lpips.LPIPS(net=name, verbose=False).to(device).requires_grad_(False).eval()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"reconstructor.lpips={name}: the ImageNet weights of that network are not to be had "
            f"({' '.join(str(error).split())[:120]}); put torchvision's file into {torch.hub.get_dir()}/checkpoints, "
            "or set reconstructor.lpips=none"
        ) from error
    return lambda first, second: network(first, second)
