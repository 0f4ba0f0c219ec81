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
from pipeline.kkt.products import Memory, gram, inner, multiply

Factors = tuple[Tensor, Tensor]

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


def by_autograd(network: Victim, activation: str | None = None) -> Evaluate:
    """The definition, of any network: the gradient of its parameters differentiated once more, trial after trial.

    `activation` replaces the network's own, if given.
    """
    activation = activation or network.settings.activation

    def evaluate(candidates: Tensor, sharpness: Tensor, coefficients: Coefficients) -> Stationarity:
        with torch.no_grad():
            value = ACTIVATIONS[activation].value
            logits = network(candidates.flatten(0, 1), value).unflatten(0, candidates.shape[:2])
        chosen = coefficients(logits)
        trials = zip(candidates, chosen.detach(), sharpness, strict=True)
        found = [_distance_and_gradients(network, activation, *trial) for trial in trials]
        return Stationarity(*map(torch.stack, zip(*found, strict=True)), chosen)

    return evaluate


def _distance_and_gradients(
    network: Victim, activation: str, candidates: Tensor, coefficients: Tensor, sharpness: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    candidates, coefficients = candidates.detach().requires_grad_(), coefficients.clone().requires_grad_()
    logits = network(candidates, with_surrogate_slope(activation, sharpness))
    parameters = list(network.parameters())
    explained = torch.autograd.grad((coefficients * logits).sum() / len(candidates), parameters, create_graph=True)
    distance = sum((weight.detach() - part).square().sum() for weight, part in zip(parameters, explained, strict=True))
    return distance.detach(), *torch.autograd.grad(distance, (candidates, coefficients))


def by_closed_form(network: Victim, activation: str | None = None) -> Evaluate:
    """The same of a fully connected network, several times as fast: no parameter's gradient is ever differentiated.

    `activation` replaces the network's own, if given.

    A layer takes inputs A to Z = AWᵀ. Let D be the derivative of Σ u Φ/m by Z, G = DᵀA that by W, and R = W − G. Then
    −½‖R‖² has the derivatives ARᵀ = Z − A(AᵀD) by D and DR = DW − D(DᵀA) by A. Few candidates make these cheaper as
    (AAᵀ)D and (DDᵀ)A; each layer takes the shorter way, and ‖R‖² = ‖W‖² − 2⟨D, Z⟩ + ‖G‖² needs nothing more. A bias
    is the weight of one more input, which is always 1.

    The candidates' gradient stands in memory that the next evaluation writes to.
    """
    function = ACTIVATIONS[activation or network.settings.activation]
    weights = [layer.weight.detach() for layer in network.layers]
    biases = [None if layer.bias is None else layer.bias.detach() for layer in network.layers]
    transposed = [weight.t().contiguous() for weight in weights]
    depth, norm = len(weights), sum(parameter.detach().square().sum() for parameter in network.parameters())
    memory = Memory()

    @torch.no_grad()
    def evaluate(candidates: Tensor, sharpness: Tensor, coefficients: Coefficients) -> Stationarity:
        (trials, count), alpha = candidates.shape[:2], sharpness[:, None, None]

        def buffer(name: str, position: int, width: int) -> Tensor:
            return memory((name, position), (trials, count, width), candidates)

        values, linear, slopes = [candidates.flatten(2)], [], []
        for position, weight in enumerate(weights):
            z = buffer("z", position, len(weight))
            if has_bias := biases[position] is not None:
                z.copy_(biases[position])
            linear.append(multiply(z, values[-1], transposed[position], add=has_bias))
            if position < depth - 1:
                values.append(function.value(z, out=buffer("a", position, len(weight))))
                slopes.append(function.slope(z, alpha, out=buffer("slope", position, len(weight))))
        with torch.enable_grad():
            chosen = coefficients(linear[-1])

        # down: derivatives D of Σ u Φ/m by each layer's Z, and by its inputs
        by_linear = [chosen.detach() / count]
        by_inputs: list[Tensor] = []
        for position in range(depth - 1, 0, -1):
            width = weights[position].shape[1]
            by_inputs.insert(0, multiply(buffer("da", position, width), by_linear[0], weights[position]))
            by_linear.insert(0, torch.mul(by_inputs[0], slopes[position - 1], out=buffer("dz", position, width)))

        distance, to_linear_derivative, explained = norm, [], []
        for position, (inputs, derivative, z) in enumerate(zip(values, by_linear, linear, strict=True)):
            squared, left, right = _explained(inputs, derivative, memory, position)
            distance = distance - 2 * inner(derivative, z) + squared
            rest = buffer("rest", position, z.shape[2]).copy_(z)
            if biases[position] is not None:
                total = derivative.sum(1, keepdim=True)
                distance, rest = distance + inner(total, total), rest.sub_(total)
            to_linear_derivative.append(multiply(rest, *left, alpha=-1, add=True))
            explained.append(right)

        # up: the derivative of the distance by each D, through its own layer's residual and through those below
        for position in range(1, depth):
            below = buffer("below", position, slopes[position - 1].shape[2])
            torch.mul(to_linear_derivative[position - 1], slopes[position - 1], out=below)
            multiply(to_linear_derivative[position], below, transposed[position], add=True)

        # down: by each A, through the residual above it, and by each Z, through its A and its slope
        to_linear = None
        for position in range(depth - 1, 0, -1):
            to_slope = to_linear_derivative[position - 1].mul_(by_inputs[position - 1])
            to_value = multiply(by_inputs[position - 1], *explained[position], alpha=-1, add=True)
            if to_linear is not None:
                multiply(to_value, to_linear, weights[position], add=True)
            to_linear = function.to_linear(to_value, to_slope, linear[position - 1], alpha, slopes[position - 1])
        to_candidates = multiply(buffer("gradient", 0, values[0].shape[2]), *explained[0], alpha=2)
        multiply(to_candidates, to_linear.add_(by_linear[0]), weights[0], alpha=-2, add=True)
        to_coefficients = to_linear_derivative[-1] * (-2 / count)
        return Stationarity(distance, to_candidates.view_as(candidates), to_coefficients, chosen)

    return evaluate


def _explained(inputs: Tensor, derivative: Tensor, memory: Memory, position: int) -> tuple[Tensor, Factors, Factors]:
    """A (T, m, a) and D (T, m, b) → ‖DᵀA‖² (T,), and factors of A(AᵀD) and D(DᵀA), in the order of fewer products."""
    trials, count, width = inputs.shape
    if gram_is_shorter(count, width, derivative.shape[2]):
        of_inputs = gram(memory(("aa", position), (trials, count, count), inputs), inputs)
        of_derivative = gram(memory(("dd", position), (trials, count, count), inputs), derivative)
        return inner(of_inputs, of_derivative), (of_inputs, derivative), (of_derivative, inputs)
    product = memory(("g", position), (trials, derivative.shape[2], width), inputs)
    multiply(product, derivative.mT, inputs)
    return inner(product, product), (inputs, product.mT), (derivative, product)


def gram_is_shorter(count: int, inputs: int, outputs: int) -> bool:
    """Whether 2m²(a + b) multiplications by way of the Gram matrices are fewer than 3mab by way of DᵀA."""
    return 2 * count * (inputs + outputs) < 3 * inputs * outputs


METHODS = {"closed_form": by_closed_form, "autograd": by_autograd}
