"""Batches in a network with hidden fully connected layers: un-mixed at the last of them, carried down to the first."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradient_inversion.activations import Activation, LeakyReLU, ReLU
from pipeline.gradient_inversion.batches.mixture import HiddenLayer
from pipeline.gradient_inversion.batches.recovery import recover
from pipeline.gradient_inversion.batches.unmixing import solve
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.step import Gradient

ROUNDS = 3
"""Passes in which what was found is put through the network to know its δ better."""


@dataclass(frozen=True)
class Unmixed:
    """The B images of one batch as they enter the fully connected layers; NaN for those that were not found."""

    features: Tensor
    """(B, D)"""
    gradient: Tensor
    """(B, D) of each image's own loss over B"""
    labels: Tensor
    """(B,)"""
    found_by: tuple[str, ...]
    alone: Tensor
    """(B,) residuals of those certified one by one, ∞ of the others"""
    reason: str | None
    """Why some were not found."""


def obstacle(network: Chain) -> str | None:
    """Why no batch can be un-mixed at the last hidden layer of the network; None where one can be tried."""
    last = network.head[-2]
    if not isinstance(last.activation, ReLU):
        name = type(last.activation).__name__ if last.activation else "no activation"
        return (
            f"{last.name}: a batch is un-mixed by the units that an image leaves silent; {name} leaves none, so that "
            "the gradient fixes the span of the images alone"
        )
    if last.bias is None:
        return f"{last.name}: without a bias gradient nothing tells the scale of an image in a batch"
    unread = next((layer for layer in network.head[:-2] if not isinstance(layer.activation, ReLU | LeakyReLU)), None)
    return f"{unread.name}: only ReLU and LeakyReLU are carried back over a whole batch" if unread else None


def unmix_batch(network: Chain, given: Gradient, size: int, precision: float, starts_per_image: int) -> Unmixed:
    """The images behind one mean gradient over `size` of them, name → gradient of that parameter."""
    last = network.head[-2]
    found = recover(
        last_hidden(network),
        given[f"{last.name}.weight"],
        given[f"{last.name}.bias"],
        _mean_error(network, given),
        size,
        precision,
        starts_per_image,
    )
    inputs, labels, found_by = found.inputs, found.labels, found.found_by
    reason = found.reason
    if found.complete and len(network.head) > 2:
        inputs = _carried_down(network, given, inputs, labels, size, precision)
    elif len(network.head) > 2:
        reason = f"{last.name}: {reason}; the layers before it take a whole batch"
        inputs, labels, found_by = inputs.new_zeros(0, network.head[0].weight.shape[1]), labels[:0], ()
    missing = size - len(inputs)
    alone = found.residual.where(found.residual < precision**0.5, torch.inf)
    if len(network.head) > 2 or network.convolutions:
        alone = torch.full_like(alone, torch.inf)
    features = torch.nn.functional.pad(inputs, (0, 0, 0, missing), value=torch.nan)
    arriving = _deltas(network, inputs, labels) @ network.head[0].weight / size
    return Unmixed(
        features,
        torch.nn.functional.pad(arriving, (0, 0, 0, missing), value=torch.nan),
        torch.nn.functional.pad(labels, (0, missing)),
        found_by + ("",) * missing,
        torch.nn.functional.pad(alone[: len(inputs)], (0, missing), value=torch.inf),
        reason and f"{last.name}: {reason}" if len(network.head) == 2 else reason,
    )


def last_hidden(network: Chain) -> HiddenLayer:
    """The last hidden layer with its logits; a logistic logit z is the softmax of (0, z)."""
    last, logits = network.head[-2:]
    readout = logits.weight
    bias = logits.bias if logits.bias is not None else readout.new_zeros(len(readout))
    if len(readout) == 1:
        readout, bias = (torch.cat([torch.zeros_like(part), part]) for part in (readout, bias))
    return HiddenLayer(last.weight, last.bias, readout, bias)


def _mean_error(network: Chain, given: Gradient) -> Tensor:
    """(K,) at the logits of `last_hidden`; NaN without a bias, since no gradient tells it."""
    logits = network.head[-1]
    if logits.bias is None:
        return logits.weight.new_full((max(2, len(logits.weight)),), torch.nan)
    mean_error = given[f"{logits.name}.bias"]
    return torch.cat([-mean_error, mean_error]) if len(mean_error) == 1 else mean_error


def _carried_down(
    network: Chain, given: Gradient, inputs: Tensor, labels: Tensor, size: int, precision: float
) -> Tensor:
    """Inputs (B, D) of the first fully connected layer, from those of the last hidden one, (B, D')."""
    depth = len(network.head) - 2
    last, logits = network.head[depth], last_hidden(network)
    arriving = logits.deltas(inputs, labels) @ last.weight
    for layer in reversed(network.head[:depth]):
        floor = 100 * precision * inputs.abs().amax()
        delta = arriving * _slopes(layer.activation, inputs, float(floor))
        inputs = _inputs(layer.name, given, delta / size)
        arriving = delta @ layer.weight
    for _ in range(ROUNDS):
        inputs = _inputs(network.head[0].name, given, _deltas(network, inputs, labels) / size)
    return inputs


def _inputs(name: str, given: Gradient, deltas: Tensor) -> Tensor:
    return solve(deltas, given[f"{name}.weight"])


def _deltas(network: Chain, inputs: Tensor, labels: Tensor) -> Tensor:
    """δ (B, n) at the first fully connected layer, of each image's own loss."""
    value, slopes = inputs, []
    for layer in network.head[:-1]:
        before = value @ layer.weight.T + (0 if layer.bias is None else layer.bias)
        slope = _slopes(layer.activation, before, 0.0)
        slopes.append(slope)
        value = before * slope
    last = network.head[-1]
    logits = value @ last.weight.T + (0 if last.bias is None else last.bias)
    if logits.shape[1] == 1:
        error = logits.sigmoid() - labels[:, None]
    else:
        error = logits.softmax(1) - torch.nn.functional.one_hot(labels, logits.shape[1])
    delta = (error @ last.weight) * slopes[-1]
    for layer, slope in zip(reversed(network.head[1:-1]), reversed(slopes[:-1]), strict=True):
        delta = (delta @ layer.weight) * slope
    return delta


def _slopes(activation: Activation, values: Tensor, floor: float) -> Tensor:
    low = activation.slope if isinstance(activation, LeakyReLU) else 0.0
    return torch.where(values > floor, 1.0, low).to(values)
