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

Coefficients = Callable[[Tensor], Tensor]
"""Logits (T, m, K) → coefficients (T, m, K); the logits are constants to it."""


@dataclass(frozen=True)
class Stationarity:
    """Per trial: the distance (T,), its gradient for candidates (T, m, C, H, W), and for coefficients (T, m, K).

    `coefficients` are those it was taken at, with the graph that leads back to their multipliers.
    """

    distance: Tensor
    candidates_gradient: Tensor
    coefficients_gradient: Tensor
    coefficients: Tensor


@torch.no_grad()
def by_closed_form(network: Victim, candidates: Tensor, sharpness: Tensor, coefficients: Coefficients) -> Stationarity:
    """Of a fully connected network, without a parameter's gradient ever being differentiated.

    A layer takes inputs A to Z = AWᵀ. Let D be the derivative of Σ u Φ/m by Z, G = DᵀA that by W, and R = W − G. Then
    −½‖R‖² has the derivatives ARᵀ = Z − A(AᵀD) by D and DR = DW − D(DᵀA) by A. Few candidates make these cheaper as
    (AAᵀ)D and (DDᵀ)A; each layer takes the shorter way, and ‖R‖² = ‖W‖² − 2⟨D, Z⟩ + ‖G‖² needs nothing more.
    """
    activation = ACTIVATIONS[network.settings.activation]
    weights, bias = [layer.weight for layer in network.layers], network.layers[0].bias
    depth = len(weights)
    count = candidates.shape[1]
    alpha = sharpness[:, None, None]

    values, linear, slopes, curvatures = [candidates.flatten(2)], [], [], []
    for position, weight in enumerate(weights):
        linear.append(_times(values[-1], weight.t()))
        if position < depth - 1:
            z = linear[-1] + bias if position == 0 else linear[-1]
            values.append(activation.value(z))
            slopes.append(activation.slope(z, alpha))
            curvatures.append(activation.curvature(z, alpha))
    with torch.enable_grad():
        chosen = coefficients(linear[-1])

    # down: derivatives of Σ u Φ/m by the output of each layer before (E) and after (D) its slope
    by_output = [chosen.detach() / count]
    by_value: list[Tensor] = []
    for position in range(depth - 1, 0, -1):
        by_value.insert(0, _times(by_output[0], weights[position]))
        by_output.insert(0, by_value[0] * slopes[position - 1])

    bias_residual = bias - by_output[0].sum(1)
    distance = bias_residual.square().sum(1)
    to_outputs, to_inputs = [], []
    for weight, inputs, outputs, z in zip(weights, values, by_output, linear, strict=True):
        squared, through_inputs, through_outputs = _triple_products(inputs, outputs)
        distance = distance + weight.square().sum() - 2 * (outputs * z).sum((1, 2)) + squared
        to_outputs.append(z - through_inputs)
        to_inputs.append(through_outputs)

    # up: what D owes to the residuals of its own layer and of those below
    to_outputs[0] += bias_residual[:, None]
    for position in range(1, depth):
        to_outputs[position] += _times(to_outputs[position - 1] * slopes[position - 1], weights[position].t())

    # down: what A owes to the residual above it, and what Z owes through the slope and the value
    to_linear = torch.zeros_like(by_output[-1])
    for position in range(depth - 1, 0, -1):
        to_value = _times(by_output[position] + to_linear, weights[position]) - to_inputs[position]
        to_slope = to_outputs[position - 1] * by_value[position - 1]
        to_linear = to_value * slopes[position - 1] + to_slope * curvatures[position - 1]
    to_candidates = _times(by_output[0] + to_linear, weights[0]) - to_inputs[0]
    return Stationarity(distance, -2 * to_candidates.view_as(candidates), -2 * to_outputs[-1] / count, chosen)


def _times(stacked: Tensor, matrix: Tensor) -> Tensor:
    """(T, m, a) times (a, b), as one product."""
    return (stacked.flatten(0, 1) @ matrix).unflatten(0, stacked.shape[:2])


def _triple_products(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A (T, m, a) and D (T, m, b) → ‖DᵀA‖² (T,), AAᵀD (T, m, b) and DDᵀA (T, m, a), in the order of fewer products."""
    count, a, b = inputs.shape[1], inputs.shape[2], outputs.shape[2]
    if gram_is_shorter(count, a, b):
        of_inputs, of_outputs = inputs @ inputs.mT, outputs @ outputs.mT
        return (of_inputs * of_outputs).sum((1, 2)), of_inputs @ outputs, of_outputs @ inputs
    product = outputs.mT @ inputs
    return product.square().sum((1, 2)), inputs @ product.mT, outputs @ product


def gram_is_shorter(count: int, inputs: int, outputs: int) -> bool:
    """Whether 2m²(a + b) multiplications by way of the Gram matrices are fewer than 3mab by way of DᵀA."""
    return 2 * count * (inputs + outputs) < 3 * inputs * outputs


def by_autograd(network: Victim, candidates: Tensor, sharpness: Tensor, coefficients: Coefficients) -> Stationarity:
    """Of any network, with the gradient of its parameters differentiated once more; one trial after the other."""
    with torch.no_grad():
        logits = network(candidates.flatten(0, 1)).unflatten(0, candidates.shape[:2])
    chosen = coefficients(logits)
    trials = zip(candidates, chosen.detach(), sharpness, strict=True)
    found = [_distance_and_gradients(network, *trial) for trial in trials]
    return Stationarity(*map(torch.stack, zip(*found, strict=True)), chosen)


def _distance_and_gradients(network: Victim, candidates: Tensor, coefficients: Tensor, sharpness: Tensor):
    candidates, coefficients = candidates.detach().requires_grad_(), coefficients.clone().requires_grad_()
    logits = network(candidates, with_surrogate_slope(network.settings.activation, sharpness))
    parameters = list(network.parameters())
    explained = torch.autograd.grad((coefficients * logits).sum() / len(candidates), parameters, create_graph=True)
    distance = sum((weight.detach() - part).square().sum() for weight, part in zip(parameters, explained, strict=True))
    return distance.detach(), *torch.autograd.grad(distance, (candidates, coefficients))


METHODS = {"closed_form": by_closed_form, "autograd": by_autograd}
