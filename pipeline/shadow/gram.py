"""Gradient descent on many heads at once, in sample space (SCIENCE.md §1, "training in sample space").

The gradient of a first layer lies in the span of its inputs: with x' = (x, 1) and W' = (W, b), gradient descent keeps
W'_t = α_t W'_0 + C_t X'. Its outputs on the training set are α_t Z_0 + C_t G', with Z_0 = W'_0 X'ᵀ and the Gram matrix
G' = X' X'ᵀ; a step costs K·N² and the D features enter only before the first step and after the last. The update of C
is the optimiser's own, with ∂loss/∂outputs for the gradient. A second layer is small and carried explicitly.
"""

import torch
from torch import Tensor

from pipeline.shadow import heads, loss
from pipeline.shadow.descent import Descent, shrinkage
from pipeline.shadow.settings import Training


def gram_matrix(features: Tensor) -> Tensor:
    """X' X'ᵀ (M, N, N) of features (M, N, D), the constant input of the bias included."""
    return torch.bmm(features, features.mT).add_(1)


def train_gram(features: Tensor, target: Tensor, training: Training, initial: list[Tensor]) -> list[Tensor]:
    """Parameters of M heads after `training.epochs` of gradient descent from `initial`.

    features: (M, N, D); target: (M, K, N), see loss.targets; initial: the layers' weights and biases, see heads.Head.
    With `batch_size` B the N/B batches have fixed members: batch j holds the rows j, j + N/B, j + 2N/B, …
    """
    samples = features.shape[1]
    batch = training.batch_size or samples
    batches = [slice(start, None, samples // batch) for start in range(samples // batch)]
    weight, bias, *upper = initial
    upper = [parameter.clone() for parameter in upper]

    gram = gram_matrix(features)
    start = heads.affine(weight, bias, features.mT)
    grams, starts, goals = ([whole[..., rows].contiguous() for rows in batches] for whole in (gram, start, target))

    coefficients = torch.zeros_like(start)
    descent = Descent(training)
    factors = shrinkage(training, training.epochs * len(batches))
    for step, factor in enumerate(factors[:-1]):
        part = step % len(batches)
        outputs = torch.baddbmm(starts[part], coefficients, grams[part], beta=factor)
        slope = loss.slope(heads.logits(outputs, upper), goals[part], training.positive_weight).div_(batch)
        gradient = torch.zeros_like(coefficients)
        gradient[..., batches[part]] = heads.backward(slope, outputs, upper)
        descent.step([coefficients, *upper], [gradient, *heads.upper_gradients(slope, outputs, upper)])

    weight = torch.baddbmm(weight, coefficients, features, beta=factors[-1])
    bias = torch.add(coefficients.sum(2), bias, alpha=factors[-1])
    return [weight, bias, *upper]
