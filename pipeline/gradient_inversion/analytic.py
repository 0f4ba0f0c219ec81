"""The way back through a network, layer by layer (R-CONV, arXiv 2406.04227 and 2509.18871), and its report.

At each convolution, from the last to the first, its output and the loss gradient there are known. The activation gives
pre-activation and slope; the slope gives the gradient G at the convolution's output; G, the layer's own weight gradient
and its weights give the input; and G through the transposed convolution gives the gradient at that input.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.gradient_inversion.activations import ReLU
from pipeline.gradient_inversion.convolution_input import Known, convolution_input
from pipeline.gradient_inversion.fully_connected import Features
from pipeline.gradient_inversion.layers import Chain, Convolution
from pipeline.gradient_inversion.relu_mask import relu_mask
from pipeline.gradient_inversion.report import LayerReport, Recoverability
from pipeline.gradient_inversion.step import Gradient

LayerInput = Callable[[Convolution, Known], tuple[Tensor, list[LayerReport]]]


def walk_back(
    network: Chain,
    gradient: Gradient,
    features: Features,
    precision: Tensor,
    layer_input: LayerInput = convolution_input,
) -> tuple[Tensor, list[Recoverability]]:
    """Images (N, B, C, H, W) and a report for each of the N gradients, from the features that entered the head.

    A gradient is given up at the layer where equations are too few (images NaN). Where only the condition is too bad
    for `precision` (N,), the way goes on: its end is an estimate, which the report does not call recoverable.
    """
    steps, batch = features.value.shape[:2]
    refusals = [refusal or unread(network) for refusal in features.refusals]
    if not network.convolutions:
        return features.value.unflatten(2, network.image_shape), [Recoverability((), refusal) for refusal in refusals]
    images = features.value.new_full((steps, batch, *network.image_shape), torch.nan)
    lines: list[list[LayerReport]] = [[] for _ in range(steps)]
    going = torch.tensor([n for n, refusal in enumerate(refusals) if refusal is None], dtype=torch.long)
    last = network.convolutions[-1].value_shape
    value = features.value[going].unflatten(2, last)
    arriving = features.gradient[going].unflatten(2, last)
    for convolution in reversed(network.convolutions):
        if not len(going):
            break
        known = known_at(convolution, gradient, going, value, arriving, precision)
        value, reports = layer_input(convolution, known)
        for n, line in zip(going.tolist(), reports, strict=True):
            lines[n].append(line)
        goes_on = torch.tensor([line.enough for line in reports], dtype=torch.bool)
        going, value = going[goes_on], value[goes_on].masked_fill(~convolution.read_pixels, torch.nan)
        arriving = convolution.gradient_at_input(known.gradient[goes_on])
    else:
        images[going] = value
    return images, [Recoverability(tuple(own), refusal) for own, refusal in zip(lines, refusals, strict=True)]


def unread(network: Chain) -> str | None:
    """Why no gradient tells the whole image: the first convolution's stride may pass over pixels."""
    if not network.convolutions:
        return None
    first = network.convolutions[0]
    missed = int((~first.read_pixels).sum())
    return f"{first.name}: not recoverable: {missed} pixels of the image are never read" if missed else None


def known_at(
    convolution: Convolution, gradient: Gradient, going: Tensor, value: Tensor, arriving: Tensor, precision: Tensor
) -> Known:
    """What is known at a convolution, from its output `value` and the loss gradient there, `arriving`.

    An output that the next layer did not read is NaN: unknown, and of no influence.
    """
    bias_gradient = gradient[f"{convolution.name}.bias"][going] if convolution.bias is not None else None
    match convolution.activation:
        case None:
            pre, slope = value, torch.ones_like(value)
        case ReLU():
            live = relu_mask(value.nan_to_num(), arriving, bias_gradient, precision[going])
            pre, slope = value, live.to(value)
        case activation:
            pre, slope = activation.invert(value)
    if convolution.bias is not None:
        pre = pre - convolution.bias[:, None, None]
    within = torch.isfinite(pre) & (slope > 0)
    return Known(
        convolution.gradient_before_pooling(arriving * slope.nan_to_num()),
        gradient[f"{convolution.name}.weight"][going],
        pre.where(within, 0),
        slope.where(within, 0),
        precision[going],
    )
