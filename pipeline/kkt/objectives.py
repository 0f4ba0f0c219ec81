"""What an attack minimises over candidates and multipliers: the terms for each trial of a stack, and gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.kkt.multipliers import coefficients, penalty
from pipeline.kkt.networks import Victim
from pipeline.kkt.problems import signs
from pipeline.kkt.products import inner
from pipeline.kkt.stationarity import METHODS


@dataclass(frozen=True)
class Evaluation:
    """`terms`: name → (T,), whose sum is minimised; gradients in the shapes of candidates and multipliers."""

    terms: dict[str, Tensor]
    candidates_gradient: Tensor
    multipliers_gradient: Tensor

    @property
    def total(self) -> Tensor:
        return sum(self.terms.values())


Objective = Callable[[Tensor, Tensor, dict[str, Tensor]], Evaluation]
"""(candidates (T, m, C, H, W), multipliers (T, m[, K]), hyper-parameters, name → (T,)) → Evaluation."""


def stationarity_objective(
    network: Victim, labels: Tensor, loss: str, method: str, activation: str | None = None
) -> Objective:
    """Distance from stationarity, pixels outside [−1, 1] squared, and the multipliers' own term (2206.07758, eq. 5–7).

    `loss`: which of the conditions of multipliers.coefficients; `method`: closed_form or autograd; `activation`
    replaces the network's own, if given.
    """
    stationarity = METHODS[method](network, activation)

    def evaluate(candidates: Tensor, multipliers: Tensor, hyperparameters: dict[str, Tensor]) -> Evaluation:
        multipliers = multipliers.detach().requires_grad_()
        weigh = coefficients(loss, multipliers, labels)
        found = stationarity(candidates, hyperparameters["relu_sharpness"], weigh)
        own = penalty(loss, multipliers, labels, hyperparameters["minimum_multiplier"])
        (multipliers_gradient,) = torch.autograd.grad(
            (found.coefficients, own), multipliers, (found.coefficients_gradient, torch.ones_like(own))
        )
        outside = add_range_penalty(candidates, found.candidates_gradient)
        terms = {"stationarity": found.distance, "range": outside, "multipliers": own.detach()}
        return Evaluation(terms, found.candidates_gradient, multipliers_gradient)

    return evaluate


def naive_objective(network: Victim, labels: Tensor) -> Objective:
    """The baseline that only asks for confident candidates: −(mean Φ of positives − mean Φ of negatives), and a range.

    Of several logits: minus the mean of the own class's.
    """

    def evaluate(candidates: Tensor, multipliers: Tensor, hyperparameters: dict[str, Tensor]) -> Evaluation:
        inputs = candidates.detach().requires_grad_()
        logits = network(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        if logits.shape[-1] == 1:
            shares = signs(labels).to(logits) / torch.bincount(labels)[labels]
            confidence = (logits[..., 0] * shares).sum(1)
        else:
            confidence = logits[:, torch.arange(len(labels)), labels].mean(1)
        (gradient,) = torch.autograd.grad(-confidence.sum(), inputs)
        terms = {"confidence": -confidence.detach(), "range": add_range_penalty(candidates, gradient)}
        return Evaluation(terms, gradient, torch.zeros_like(multipliers))

    return evaluate


def add_range_penalty(candidates: Tensor, gradient: Tensor) -> Tensor:
    """Σ (x − 1)₊² + (−1 − x)₊² (T,); its gradient is added to `gradient`."""
    beyond = candidates.clamp(-1, 1)
    torch.sub(candidates, beyond, out=beyond)
    gradient.add_(beyond, alpha=2)
    return inner(beyond, beyond)
