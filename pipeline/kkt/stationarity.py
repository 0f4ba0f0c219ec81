"""How far weights are from stationarity, ‖θ − (1/m) Σᵢ Σₖ uᵢₖ ∇Φₖ(xᵢ)‖², with gradients for candidates x and their u.

Coefficients u say how much each logit of each candidate counts; multipliers.py makes them from the multipliers λ.
Trials are stacked: candidates are (T, m, C, H, W), coefficients (T, m, K), each trial with its own sharpness α.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.kkt.activations import ACTIVATIONS, with_surrogate_slope
from pipeline.kkt.networks import Victim

SMALL_GRAM = 200
"""Rows below which a product by quarters costs more than the quarter it saves."""

Coefficients = Callable[[Tensor], Tensor]
"""Logits (T, m, K) → coefficients (T, m, K); the logits are constants to it."""


Evaluate = Callable[[Tensor, Tensor, Coefficients], "Stationarity"]
"""(candidates (T, m, C, H, W), sharpness (T,), coefficients) → Stationarity."""


@dataclass(frozen=True)
class Stationarity:
    """Per trial: the distance (T,), its gradient for candidates (T, m, C, H, W), and for coefficients (T, m, K).

    `coefficients` are those it was taken at, with the graph that leads back to their multipliers.
    """

    distance: Tensor
    candidates_gradient: Tensor
    coefficients_gradient: Tensor
    coefficients: Tensor


def by_closed_form(network: Victim) -> Evaluate:
    """Of a fully connected network, without a parameter's gradient ever being differentiated.

    A layer takes inputs A to Z = AWᵀ. Let D be the derivative of Σ u Φ/m by Z, G = DᵀA that by W, and R = W − G. Then
    −½‖R‖² has the derivatives ARᵀ = Z − A(AᵀD) by D and DR = DW − D(DᵀA) by A. Few candidates make these cheaper as
    (AAᵀ)D and (DDᵀ)A; each layer takes the shorter way, and ‖R‖² = ‖W‖² − 2⟨D, Z⟩ + ‖G‖² needs nothing more. The bias
    is the weight of one more input, which is always 1.
    """
    activation = ACTIVATIONS[network.settings.activation]
    weights, bias = [layer.weight.detach() for layer in network.layers], network.layers[0].bias.detach()
    depth, norm = len(weights), sum(parameter.detach().square().sum() for parameter in network.parameters())

    @torch.no_grad()
    def evaluate(candidates: Tensor, sharpness: Tensor, coefficients: Coefficients) -> Stationarity:
        count, alpha = candidates.shape[1], sharpness[:, None, None]
        values, linear, slopes = [candidates.flatten(2)], [], []
        for position, weight in enumerate(weights):
            linear.append(_times(values[-1], weight.t(), bias if position == 0 else None))
            if position < depth - 1:
                values.append(activation.value(linear[-1]))
                slopes.append(activation.slope(linear[-1], alpha))
        with torch.enable_grad():
            chosen = coefficients(linear[-1])

        # down: derivatives of Σ u Φ/m by each layer's inputs, and by its Z
        by_linear = [chosen.detach() / count]
        by_value: list[Tensor] = []
        for position in range(depth - 1, 0, -1):
            by_value.insert(0, _times(by_linear[0], weights[position]))
            by_linear.insert(0, by_value[0] * slopes[position - 1])

        distance, to_linear_derivative, to_inputs = norm, [], []
        for position, (inputs, derivative, z) in enumerate(zip(values, by_linear, linear, strict=True)):
            squared, towards_derivative, towards_inputs = _triple_products(inputs, derivative, ones=position == 0)
            distance = distance - 2 * _inner(derivative, z) + squared
            to_linear_derivative.append(z - towards_derivative)
            to_inputs.append(towards_inputs)

        # up: what each D owes to the residual of its own layer and to those below
        for position in range(1, depth):
            below = to_linear_derivative[position - 1] * slopes[position - 1]
            to_linear_derivative[position] += _times(below, weights[position].t())

        # down: what each A owes to the residual above it, and each Z to its A and to its slope
        to_linear = torch.zeros_like(by_linear[-1])
        for position in range(depth - 1, 0, -1):
            to_value = _times(by_linear[position] + to_linear, weights[position]).sub_(to_inputs[position])
            to_slope = to_linear_derivative[position - 1] * by_value[position - 1]
            curvature = activation.curvature(linear[position - 1], alpha, slopes[position - 1])
            to_linear = to_value.mul_(slopes[position - 1]).addcmul_(to_slope, curvature)
        to_candidates = _times(by_linear[0] + to_linear, weights[0]).sub_(to_inputs[0])
        to_coefficients = to_linear_derivative[-1] / count
        return Stationarity(distance, to_candidates.mul_(-2).view_as(candidates), -2 * to_coefficients, chosen)

    return evaluate


def _times(stacked: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """(T, m, a) times (a, b), plus (b,), as one product."""
    flat = stacked.flatten(0, 1)
    return (flat @ matrix if offset is None else torch.addmm(offset, flat, matrix)).unflatten(0, stacked.shape[:2])


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """(T,): the inner product of two (T, m, b) in each trial."""
    return torch.linalg.vecdot(one.flatten(1), other.flatten(1))


def _triple_products(inputs: Tensor, derivative: Tensor, *, ones: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A (T, m, a) and D (T, m, b) → ‖DᵀA‖² (T,), AAᵀD (T, m, b) and DDᵀA (T, m, a), in the order of fewer products.

    `ones`: with another input that is always 1 joined to A in the first two.
    """
    count, a, b = inputs.shape[1], inputs.shape[2], derivative.shape[2]
    if gram_is_shorter(count, a, b):
        of_inputs, of_derivative = _gram(inputs), _gram(derivative)
        if ones:
            of_inputs += 1
        return _inner(of_inputs, of_derivative), of_inputs @ derivative, of_derivative @ inputs
    product = derivative.mT @ inputs
    squared, towards_derivative = _inner(product, product), inputs @ product.mT
    if ones:
        total = derivative.sum(1, keepdim=True)
        squared, towards_derivative = squared + _inner(total, total), towards_derivative.add_(total)
    return squared, towards_derivative, derivative @ product


def _gram(values: Tensor) -> Tensor:
    """AAᵀ (T, m, m) of A (T, m, a); large ones by quarters, of which the one above the diagonal is that below it."""
    count = values.shape[1]
    if count < 2 * SMALL_GRAM:
        return values @ values.mT
    first, second = values.split([count // 2, count - count // 2], 1)
    across = second @ first.mT
    return torch.cat([torch.cat([_gram(first), across.mT], 2), torch.cat([across, _gram(second)], 2)], 1)


def gram_is_shorter(count: int, inputs: int, outputs: int) -> bool:
    """Whether 2m²(a + b) multiplications by way of the Gram matrices are fewer than 3mab by way of DᵀA."""
    return 2 * count * (inputs + outputs) < 3 * inputs * outputs


def by_autograd(network: Victim) -> Evaluate:
    """Of any network, with the gradient of its parameters differentiated once more; one trial after the other."""

    def evaluate(candidates: Tensor, sharpness: Tensor, coefficients: Coefficients) -> Stationarity:
        with torch.no_grad():
            logits = network(candidates.flatten(0, 1)).unflatten(0, candidates.shape[:2])
        chosen = coefficients(logits)
        trials = zip(candidates, chosen.detach(), sharpness, strict=True)
        found = [_distance_and_gradients(network, *trial) for trial in trials]
        return Stationarity(*map(torch.stack, zip(*found, strict=True)), chosen)

    return evaluate


def _distance_and_gradients(
    network: Victim, candidates: Tensor, coefficients: Tensor, sharpness: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    candidates, coefficients = candidates.detach().requires_grad_(), coefficients.clone().requires_grad_()
    logits = network(candidates, with_surrogate_slope(network.settings.activation, sharpness))
    parameters = list(network.parameters())
    explained = torch.autograd.grad((coefficients * logits).sum() / len(candidates), parameters, create_graph=True)
    distance = sum((weight.detach() - part).square().sum() for weight, part in zip(parameters, explained, strict=True))
    return distance.detach(), *torch.autograd.grad(distance, (candidates, coefficients))


METHODS = {"closed_form": by_closed_form, "autograd": by_autograd}
