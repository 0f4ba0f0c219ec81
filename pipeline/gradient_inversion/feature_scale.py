"""How large the features were, where the head has no bias: the scale that the layer behind agrees with best.

Without a bias the head's gradient is an outer product δ xᵀ, and the loss tells how it divides (R-GAP,
arXiv 2010.07733). But δ = p − y is rounded where it is small, a digit lost for each decade below 1, and a saturated
sigmoid or tanh behind the head magnifies that. The weight gradient of the last convolution has more equations than
unknowns, and meets all of them at one scale alone.
"""

import torch
from torch import Tensor

from pipeline.gradient_inversion.activations import LeakyReLU, ReLU
from pipeline.gradient_inversion.analytic import known_at
from pipeline.gradient_inversion.fully_connected import Features
from pipeline.gradient_inversion.gradient_constraints import phase_matrix, phase_target, phases
from pipeline.gradient_inversion.layers import Chain, Convolution
from pipeline.gradient_inversion.step import Gradient

POINTS = 9
SHRINKAGE = 0.4


def sharpen(network: Chain, gradient: Gradient, features: Features, precision: Tensor) -> Features:
    """The features, each scaled within the rounding of its δ so that the last convolution's equations fit best.

    Unchanged where the head has a bias, where the last activation is linear on both sides of zero (a scale then passes
    through every layer and no equation tells it), and where a δ is so small that its digits are gone: with a refusal.
    """
    head = network.head[0]
    if head.bias is not None or not network.convolutions:
        return features
    last = network.convolutions[-1]
    delta = features.gradient[:, 0] @ torch.linalg.pinv(head.weight)
    doubt = torch.finfo(torch.float64).eps / delta.norm(dim=1)
    refusals, saturated = list(features.refusals), set()
    value, arriving = features.value.clone(), features.gradient.clone()
    for n, refusal in enumerate(refusals):
        if refusal:
            continue
        if doubt[n] > precision[n].sqrt():
            saturated.add(n)
            refusals[n] = (
                f"{head.name}: the softmax is saturated: ∂ℓ/∂logit = {delta[n].norm():.1e}, rounded to 1e-16, has too "
                "few digits left to tell the scale of its input"
            )
        elif not isinstance(last.activation, ReLU | LeakyReLU | None):
            scale = _scale(last, gradient, features, n, precision, float(doubt[n]))
            value[n] *= scale
            arriving[n] /= scale
    return Features(value, arriving, tuple(refusals), frozenset(saturated))


def _scale(
    convolution: Convolution, gradient: Gradient, features: Features, n: int, precision: Tensor, doubt: float
) -> float:
    """The scale near 1 of least misfit, by grids that close in on it; `doubt` is the relative error it starts with."""
    here = torch.tensor([n])
    value, arriving = (part[here].unflatten(2, convolution.value_shape) for part in (features.value, features.gradient))

    def misfit(offset: float) -> float:
        scale = 1 + offset
        known = known_at(convolution, gradient, here, value * scale, arriving / scale, precision)
        missed = 0.0
        for phase in phases(convolution):
            matrix = phase_matrix(phase, known.gradient)[0]
            if matrix.shape[0] > matrix.shape[1]:
                target = phase_target(phase, known.weight_gradient)[0]
                basis = torch.linalg.qr(matrix).Q
                missed += float((target - basis @ (basis.T @ target)).square().sum())
        return missed

    best, reach = 0.0, 100 * doubt
    while reach > 1e-17:
        best = min((best + reach * float(step) for step in torch.linspace(-1, 1, POINTS)), key=misfit)
        reach *= SHRINKAGE
    return 1 + best
