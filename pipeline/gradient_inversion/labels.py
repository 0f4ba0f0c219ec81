"""Labels and logit derivatives read off a gradient (iDLG, arXiv 2001.02610): only the label's own is negative."""

import torch
from torch import Tensor

from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.step import Gradient


def infer_labels(network: Chain, gradient: Gradient) -> Tensor:
    """Labels (N,) of single images, from the last bias gradient, or the row sums of the last weight gradient.

    Row sums tell the label where the last layer's inputs sum to more than 0, as after ReLU or sigmoid.
    """
    last = network.head[-1]
    delta = gradient[f"{last.name}.bias"] if last.bias is not None else gradient[f"{last.name}.weight"].sum(2)
    return (delta[:, 0] < 0).long() if delta.shape[1] == 1 else delta.argmin(1)


def logits_and_derivatives(network: Chain, weight_gradient: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K) of images (B, C, H, W), with their graph, and the derivatives δ (B, K) behind the gradient.

    δ solves ∂ℓ/∂W = Σ_b δ_b h_bᵀ of the last layer, (K, D), with h_b its input from image b.
    """
    inputs = []
    last = network.module.get_submodule(network.head[-1].name)
    hook = last.register_forward_hook(lambda _, arguments, __: inputs.append(arguments[0].detach()))
    try:
        logits = network.module(images)
    finally:
        hook.remove()
    return logits, torch.linalg.lstsq(inputs[0].T, weight_gradient.T, driver="gelsd").solution


def labels_of_derivatives(delta: Tensor, logits: Tensor) -> Tensor:
    """Labels (B,): Σ_k δ_k = 0 with one negative term, unless the softmax was so sure that 1 − p_y rounds to 0."""
    if delta.shape[1] == 1:
        return (delta[:, 0] < 0).long()
    sure = -delta.amin(1) < delta.amax(1) / 2
    return torch.where(sure, logits.argmax(1), delta.argmin(1))
