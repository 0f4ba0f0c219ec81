"""What a network alone says about recoverability, before any gradient is seen: the worst case of its layers."""

import torch
from torch import Tensor

from pipeline.gradient_inversion.activations import ReLU
from pipeline.gradient_inversion.analytic import unread
from pipeline.gradient_inversion.convolution_input import Known, convolution_input
from pipeline.gradient_inversion.layers import Chain, Convolution
from pipeline.gradient_inversion.minibatch import distinguishable
from pipeline.gradient_inversion.report import LayerReport, Recoverability
from pipeline.randomness import torch_generator

FLOAT64 = torch.finfo(torch.float64).eps


def predict(network: Chain, batch_size: int = 1, precision: float = FLOAT64) -> Recoverability:
    """The report for a network and gradients of batches, as if every ReLU hid every pre-activation it can hide.

    Ranks and conditions are those of a generic gradient: normal, and zero at a random half of a ReLU layer's units. A
    layer that then needs rows from behind its ReLU says how many units must be live; a gradient tells whether they are.
    """
    most = distinguishable(network)
    refusal = unread(network)
    if batch_size > most:
        refusal = f"{network.head[0].name}: its gradient keeps at most {most} images apart, not {batch_size}"
    lines = [_generic(convolution, batch_size, precision) for convolution in reversed(network.convolutions)]
    return Recoverability(tuple(lines), refusal)


def _generic(convolution: Convolution, batch_size: int, precision: float) -> LayerReport:
    generator = torch_generator("prediction", convolution.name)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    gradient, image = normal(1, batch_size, *convolution.value_shape), normal(1, batch_size, *convolution.input_shape)
    rows = convolution.rows(image)
    trust = torch.ones_like(rows)
    hidden = isinstance(convolution.activation, ReLU)
    if hidden:
        gradient, trust = gradient * (normal(*gradient.shape) > 0), torch.zeros_like(rows)
    known = Known(
        convolution.gradient_before_pooling(gradient),
        normal(1, *convolution.weight.shape),
        rows * trust,
        trust,
        torch.tensor([precision], dtype=torch.float64),
    )
    line = convolution_input(convolution, known)[1][0]
    return line if not hidden else line.behind_relu(rows.numel())
