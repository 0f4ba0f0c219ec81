"""The search for an image's pattern of firing units: projections between a subspace and binary patterns.

δ = a ∘ d with a binary and d = readoutᵀ e nearly known (on a fresh network every image of a class has nearly the same
e), and δ lies in the span of U. From a start (a, e): project a ∘ d on the span, fire the units where the projection is
nearer to d than to 0, and now and then fit e to the projection. Of many starts side by side, some settle on an image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture

STEPS = 60
"""Projections from one start, at most."""
FIXED_STEPS = 8
"""So many of them with the start's own e."""
FEW_CLASSES = 16
"""With more, a free e explains too much: it is fitted, held near the start's own, where the network is trained."""
HOLD_FEW, HOLD_MANY = 1e-3, 0.3


@dataclass(frozen=True)
class Settled:
    """Where S starts ended: nearest first."""

    fires: Tensor
    """(S, n) bool"""
    guess: Tensor
    """(S, n) d, the δ that a unit has if it fires"""
    misfit: Tensor
    """(S,) share of a ∘ d outside the span"""


def settle(mixture: Mixture, layer: HiddenLayer, fires: Tensor, errors: Tensor, trained: bool = False) -> Settled:
    """Alternates projection and rounding from patterns (S, n) and errors (S, K); in float32, all starts at once."""
    left, fires, errors = mixture.left_single, fires.float(), errors.float()
    hold = HOLD_FEW if layer.classes <= FEW_CLASSES else HOLD_MANY if trained else None
    if layer.classes >= len(layer.bias):
        hold = None  # any δ is some e's
    whitener, white = _whitened(layer.readout)
    guess = errors @ layer.readout.float()
    ended: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(STEPS):
        delta = fires * guess
        projected = (delta @ left) @ left.T
        new = (projected * guess.sign() > 0.5 * guess.abs()).float()
        if step >= FIXED_STEPS and hold is not None:
            errors = _refit(errors, new, projected, whitener, white, hold)
            guess = errors @ layer.readout.float()
        still = (new == fires).all(1) & (step > FIXED_STEPS)
        fires = new
        if still.any():
            ended.append((fires[still], guess[still], (delta - projected)[still]))
            fires, guess, errors = fires[~still], guess[~still], errors[~still]
        if not len(fires):
            break
    else:
        delta = fires * guess
        ended.append((fires, guess, delta - (delta @ left) @ left.T))
    fires, guess, outside = (torch.cat(parts) for parts in zip(*ended, strict=True))
    misfit = outside.norm(dim=1) / (fires * guess).norm(dim=1).clamp(min=1e-12)
    misfit = misfit.masked_fill(fires.sum(1) <= layer.classes, torch.inf)
    order = misfit.argsort()
    return Settled(fires[order] > 0, guess[order].double(), misfit[order].double())


def _whitened(readout: Tensor) -> tuple[Tensor, Tensor]:
    """T (K, K) and Q (K, n) with orthonormal rows, readout = T Q; both in float32."""
    basis, triangle = torch.linalg.qr(readout.T)
    return triangle.T.float(), basis.T.float()


def _refit(errors: Tensor, fires: Tensor, projected: Tensor, whitener: Tensor, white: Tensor, hold: float) -> Tensor:
    """e by least squares on the units that fire, scaled so that its negative entry stays; kept where it has none.

    In whitened coordinates the normal matrix is near a multiple of the identity, so that few conjugate gradients do.
    """
    solution = _normal_equations(white, fires, (fires * projected) @ white.T, errors @ whitener, hold)
    fitted = torch.linalg.solve_triangular(whitener, solution, upper=False, left=False)
    fitted = fitted - fitted.mean(1, keepdim=True)
    size = -fitted.amin(1, keepdim=True)
    usable = size > 1e-6
    return torch.where(usable, fitted / size.where(usable, 1.0) * -errors.amin(1, keepdim=True), errors)


def _normal_equations(
    white: Tensor, fires: Tensor, right: Tensor, start: Tensor, hold: float, steps: int = 6
) -> Tensor:
    """Q diag(a) Qᵀ f = right for each row by conjugate gradients, f held near `start` by `hold` of the mean power."""
    ridge = hold * fires.mean(1, keepdim=True) + 1e-6

    def apply(f: Tensor) -> Tensor:
        return (fires * (f @ white)) @ white.T + ridge * f

    solution = start
    rest = right + ridge * start - apply(solution)
    direction = rest
    power = rest.square().sum(1, keepdim=True)
    for _ in range(min(steps, white.shape[0])):
        image = apply(direction)
        rate = power / (direction * image).sum(1, keepdim=True).clamp(min=1e-30)
        solution = solution + rate * direction
        rest = rest - rate * image
        new = rest.square().sum(1, keepdim=True)
        direction = rest + new / power.clamp(min=1e-30) * direction
        power = new
    return solution
