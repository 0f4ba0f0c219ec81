"""Gradient descent on many heads at once, in sample space (arXiv 2505.14323's shadow training, exactly).

The gradient of a first layer lies in the span of its inputs: with x' = (x, 1) and W' = (W, b), gradient descent keeps
W'_t = α_t W'_0 + C_t X'. Its outputs on the training set are α_t Z_0 + C_t G', with Z_0 = W'_0 X'ᵀ and the Gram matrix
G' = X' X'ᵀ; a step costs K·N² and the D features enter only before the first step and after the last. The update of C
is the optimiser's own, with ∂loss/∂outputs for the gradient. A second layer is small and carried explicitly.
"""

import torch
from torch import Tensor

from pipeline.shadow import heads
from pipeline.shadow.batches import fixed_batches
from pipeline.shadow.descent import Descent, shrinkage
from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training

UNSTABLE = 20.0
"""Learning rate times curvature beyond which rounding is blown up so much that sample space needs float64."""


def gram_matrix(features: Tensor) -> Tensor:
    """X' X'ᵀ (M, N, N) of features (M, N, D), the constant input of the bias included."""
    return torch.bmm(features, features.mT).add_(1)


def train_gram(
    features: Tensor,
    targets: Targets,
    parameters: list[Tensor],
    training: Training,
    coefficients_out: Tensor | None = None,
) -> None:
    """Trains M heads in place for `training.epochs` of gradient descent.

    features: (M, N, D); parameters: the layers' initial weights and biases, see heads.Head. `coefficients_out`
    (M, R, N), where it is given, receives C.
    """
    samples = features.shape[1]
    batches = fixed_batches(samples, training.batch_size)
    weight, bias, *upper = parameters
    precision = sample_space_precision(features, training)
    gram = gram_matrix(features.to(precision))
    initial = heads.affine(weight.to(precision), bias.to(precision), features.to(precision).mT)
    upper, targets = [parameter.to(precision) for parameter in upper], targets.to(precision)

    problems = [(initial[..., rows], gram[..., rows].contiguous(), targets[..., rows]) for rows in batches]
    coefficients = torch.zeros_like(initial)
    descent = Descent(training)
    factors = shrinkage(training, steps := training.epochs * len(batches))
    for step in range(steps):
        part = step % len(batches)
        own_initial, own_gram, own_targets = problems[part]
        outputs = torch.baddbmm(own_initial, coefficients, own_gram, beta=factors[step])
        activations = heads.activate(outputs, upper)
        slope = own_targets.slope(heads.logits(activations, upper)).mul_(len(batches) / samples)
        gradient = spread(heads.backward(slope, activations, upper), batches[part], samples)
        descent.step([coefficients, *upper], [gradient, *heads.upper_gradients(slope, activations, upper)])

    weight.baddbmm_(coefficients.to(weight.dtype), features, beta=factors[-1])
    bias.mul_(factors[-1]).add_(coefficients.sum(2))
    if coefficients_out is not None:
        coefficients_out.copy_(coefficients)
    for parameter, trained in zip(parameters[2:], upper, strict=True):
        parameter.copy_(trained)


def sample_space_precision(features: Tensor, training: Training) -> torch.dtype:
    """float64 where some set's descent is far from stable, else that of the features.

    Cross-entropy's descent is stable while lr·λ/N < 4, λ the largest eigenvalue of G'. Features after a ReLU all point
    one way, so λ/N is close to, and never below, the mean entry of G': the squared length of the mean x'. Real features
    with lr·λ/N near 200 make the last bit of float32 grow to 1e-4.
    """
    curvature = features.mean(1).square().sum(1).max().item() + 1
    return torch.float64 if training.learning_rate * curvature > UNSTABLE else features.dtype


def spread(part: Tensor, rows: slice, samples: int) -> Tensor:
    """The gradient of a batch as that of the whole set: zero for the samples outside `rows`."""
    if part.shape[2] == samples:
        return part
    whole = part.new_zeros(*part.shape[:2], samples)
    whole[..., rows] = part
    return whole
