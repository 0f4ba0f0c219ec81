"""The stationarity loss at the true data with the best multipliers: a reference, not a bound."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.nn import functional

from pipeline.kkt.activations import ACTIVATIONS, with_surrogate_slope
from pipeline.kkt.multipliers import coefficients
from pipeline.kkt.networks import Victim, squared_norm

RANK_TOLERANCE = 1e-12
MOST_MULTIPLIERS = 2000


def directions(loss: str, logits: Tensor, labels: Tensor) -> Tensor:
    """(R, n, K): the combinations of logits whose gradients multipliers weigh; of R multipliers each image has R rows.

    R is K − 1 for full, one row for each other class, and else 1.
    """
    if loss != "full":
        return coefficients(loss, logits.new_ones(1, len(labels)), labels)(logits[None])
    classes = logits.shape[1]
    others = torch.stack([(labels + step) % classes for step in range(1, classes)])
    one_each = functional.one_hot(others, classes).to(logits)
    return coefficients(loss, one_each, labels)(logits.expand(classes - 1, -1, -1))


def tangent_kernel(
    network: Victim, images: Tensor, sharpness: float, chosen: Tensor, activation: str | None = None
) -> tuple[Tensor, Tensor]:
    """K = J Jᵀ (Rn, Rn) and J θ (Rn,), J the gradients of the chosen combinations of logits (R, n, K) by all weights.

    A fully connected layer's part is (D Dᵀ)∘(A Aᵀ), of its inputs A and of the gradients D by its outputs; J itself is
    never formed. ReLU's derivative is the attack's, σ(αz) with α = `sharpness`. `activation` stands for the
    network's own, if given.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def remember(_, given: tuple[Tensor], output: Tensor) -> None:
        inputs.append(given[0].detach())
        outputs.append(output)

    hooks = [layer.register_forward_hook(remember) for layer in network.layers]
    try:
        with torch.enable_grad():
            alpha = torch.as_tensor(sharpness, dtype=images.dtype, device=images.device)
            logits = network(images, with_surrogate_slope(activation or network.settings.activation, alpha))
    finally:
        for hook in hooks:
            hook.remove()
    columns = [
        torch.autograd.grad(logits, outputs, grad_outputs=combination, retain_graph=True) for combination in chosen
    ]
    count = chosen.shape[0] * chosen.shape[1]
    kernel, product = images.new_zeros(count, count), images.new_zeros(count)
    for layer, given, *by_output in zip(network.layers, inputs, *columns, strict=True):
        own_kernel, own_product = _layer_part(layer, given, torch.stack(by_output))
        kernel += own_kernel
        product += own_product
    return kernel, product


def _layer_part(layer: nn.Module, inputs: Tensor, by_output: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's share of the kernel and of J θ; `by_output` (R, n, …) are derivatives by what it puts out."""
    combinations, count = by_output.shape[:2]
    bias = layer.bias.detach() if layer.bias is not None else None
    weight = layer.weight.detach().flatten(1)
    if isinstance(layer, nn.Linear):
        down = by_output.flatten(0, 1)
        gram = (inputs @ inputs.T).repeat(combinations, combinations)
        kernel, product = (down @ down.T) * gram, (down * (inputs @ weight.T).repeat(combinations, 1)).sum(1)
        bias_gradient = down
    else:
        patches = functional.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        down = by_output.flatten(3)
        gradient = torch.einsum("rnfp,ncp->rnfc", down, patches).reshape(combinations * count, -1)
        kernel, product = gradient @ gradient.T, gradient @ weight.flatten()
        bias_gradient = down.sum(3).flatten(0, 1)
    if bias is not None:
        kernel, product = kernel + bias_gradient @ bias_gradient.T, product + bias_gradient @ bias
    return kernel, product


def least_distance(kernel: Tensor, product: Tensor, squared_norm: float, non_negative: bool) -> tuple[float, Tensor]:
    """min over c of ‖θ − Jᵀc‖² = ‖θ‖² − 2 cᵀJθ + cᵀKc, and c (n,) itself: c ≥ 0 (Lawson and Hanson), or free."""
    values, vectors = (part.cpu().numpy() for part in torch.linalg.eigh(kernel.double()))
    kept = values > RANK_TOLERANCE * values[-1]
    root = np.sqrt(values[kept])
    factor = root[:, None] * vectors[:, kept].T
    target = vectors[:, kept].T @ product.double().cpu().numpy() / root
    if non_negative:
        found, residual = nnls(factor, target)
    else:
        found, residual = np.linalg.lstsq(factor, target, rcond=None)[0], 0.0
    return squared_norm - float(target @ target) + residual**2, torch.as_tensor(found)


def oracle_loss(
    network: Victim, images: Tensor, labels: Tensor, loss: str, sharpness: float, activation: str | None = None
) -> float:
    """Stationarity loss at the training images (n, C, H, W), centred, with the best multipliers there are.

    NaN where there are more than 2,000 of them, since the active-set method takes their number to the third power.
    """
    value = ACTIVATIONS[activation or network.settings.activation].value
    with torch.no_grad():
        chosen = directions(loss, network(images, value), labels)
    if chosen.shape[0] * chosen.shape[1] > MOST_MULTIPLIERS:
        return float("nan")
    kernel, product = tangent_kernel(network, images, sharpness, chosen, activation)
    return least_distance(kernel, product, squared_norm(network), non_negative=loss != "general")[0]
