"""The reconstruction loss: ½(MSE + MAE), with LPIPS where it is asked for, and the soft minimum over candidates."""

import torch

from pipeline.networks.lpips import Perceptual


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
