"""The certificate after an attack: does a reconstruction reproduce the gradient it was made from?"""

import torch
from torch import Tensor

from pipeline.gradient_inversion.labels import labels_of_derivatives, logits_and_derivatives
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.step import Exposure, Gradient, norms, training_loss


def certify(
    network: Chain, gradient: Gradient, images: Tensor, labels: Tensor | None, exposure: Exposure
) -> tuple[Tensor, Tensor]:
    """Residuals (N,) of images (N, B, C, H, W) against N gradients, and their labels (N, B), inferred unless given.

    Two things are checked, and the larger relative difference is the residual, ∞ for images that are not finite.
    The backward pass: the logit derivatives δ that the last layer's gradient tells, sent back through the network at
    the images, against every parameter's gradient (each counts with at least √precision of the whole norm).
    The loss: its derivatives at the images' logits against δ. Where the softmax is nearly sure, the victim itself knew
    1 − p_y only to rounding, and 0 in place of 10⁻⁷⁰ there is no difference; of clipped gradients each image's own
    scale is not looked at.
    """
    residuals = torch.full((len(images),), torch.inf, dtype=torch.float64)
    found = torch.zeros(images.shape[:2], dtype=torch.long) if labels is None else labels
    floor = exposure.precision(gradient).sqrt() * norms(gradient)
    for n in torch.isfinite(images).flatten(1).all(1).nonzero()[:, 0].tolist():
        given = {name: part[n] for name, part in gradient.items()}
        logits, delta = logits_and_derivatives(network, given[f"{network.head[-1].name}.weight"], images[n])
        if labels is None:
            found[n] = labels_of_derivatives(delta, logits)
        backward = _backward_residual(network, given, logits, delta, floor[n])
        residuals[n] = max(backward, _loss_residual(logits.detach(), delta, found[n], exposure))
    return residuals.nan_to_num(torch.inf, torch.inf), found


def _backward_residual(network: Chain, given: Gradient, logits: Tensor, delta: Tensor, floor: Tensor) -> Tensor:
    recomputed = torch.autograd.grad(logits, tuple(network.module.parameters()), delta)
    differences = [
        (again - given[name]).norm() / torch.maximum(given[name].norm(), floor)
        for (name, _), again in zip(network.module.named_parameters(), recomputed, strict=True)
    ]
    return torch.stack(differences).max()


def _loss_residual(logits: Tensor, delta: Tensor, labels: Tensor, exposure: Exposure) -> Tensor:
    logits = logits.requires_grad_()
    expected = torch.autograd.grad(training_loss(logits, labels), logits)[0]
    if exposure.clip_norm is not None:
        expected = expected * (delta.norm(dim=1, keepdim=True) / expected.norm(dim=1, keepdim=True))
    difference = (expected - delta).abs()
    own = labels[:, None] if delta.shape[1] > 1 else torch.zeros_like(labels)[:, None]
    allowed = difference.gather(1, own) - 4 * torch.finfo(exposure.dtype).eps
    return difference.scatter(1, own, allowed.clamp(min=0)).max() / delta.abs().max()
