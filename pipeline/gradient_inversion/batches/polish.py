"""From a pattern that is nearly right to an exact δ: the null vector of U on the units that do not fire."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture

ROUNDS = 14
SPARE_ROWS = 3
"""Silent units beyond the B − 1 that fix a direction, at least."""
SEPARATION = 0.05
"""Largest ratio of the least to the second-least singular value on the silent units."""


@dataclass(frozen=True)
class Directions:
    """Exact δ = U r of images, up to scale."""

    coordinates: Tensor
    """r (m, B) of unit norm"""
    fires: Tensor
    """(m, n) bool"""
    labels: Tensor
    """(m,)"""


def polish(mixture: Mixture, layer: HiddenLayer, fires: Tensor, guess: Tensor) -> Directions:
    """The candidates (S, n), with d = `guess` (S, n), whose silent units have a null vector that is a δ.

    Silent units are first those that are sure (|d| above a quarter of the median); each round solves for r and doubts
    those where U r is not small, then the worst 4 %. Once the rest vanish, every unit where U r does is silent.
    """
    left, tolerance = mixture.left, zero(mixture)
    magnitude = guess.abs()
    sure = magnitude > magnitude.median(1, keepdim=True).values / 4
    silent = sure & ~fires
    going = (silent.sum(1) >= mixture.rank + SPARE_ROWS) & fires.any(1)
    silent, fires, guess, magnitude, sure = (part[going] for part in (silent, fires, guess, magnitude, sure))
    exact = torch.zeros(len(silent), dtype=torch.bool, device=left.device)
    trimming = exact.clone()
    coordinates = left.new_zeros(len(silent), mixture.rank)
    second = left.new_zeros(len(silent))
    alive = ~exact
    for step in range(ROUNDS):
        todo = (alive & ~exact).nonzero()[:, 0]
        if not len(todo):
            break
        coordinates[todo], second[todo] = null_vectors(left, silent[todo])
        values = coordinates[todo] @ left.T
        least = (values * silent[todo]).norm(dim=1)
        exact[todo] = least < tolerance
        values, going = values[~exact[todo]], todo[~exact[todo]]
        relative = values * guess[going].sign() / magnitude[going]
        level = relative.masked_fill(~(fires[going] & sure[going]), torch.nan).nanmedian(1, keepdim=True).values
        doubted = sure[going] & (relative / level < 0.3)
        trimming[going] |= (doubted == silent[going]).all(1) | (step >= 4)
        trimmed = _without_worst(values.abs(), silent[going])
        silent[going] = torch.where(trimming[going][:, None], trimmed, doubted)
        alive[going] = silent[going].sum(1) >= mixture.rank + SPARE_ROWS
    return _finished(mixture, layer, silent[exact])


def zero(mixture: Mixture) -> float:
    """Below this the norm of U r on silent units, ‖r‖ = 1, is zero; a gradient is rounded entry by entry."""
    return max(1e-7, 30 * mixture.grain)


def null_vectors(left: Tensor, silent: Tensor) -> tuple[Tensor, Tensor]:
    """Least right singular vectors (m, B) of U on silent units (m, n), and the second least singular values (m,).

    With B = 1 there is no second: ∞.
    """
    gram = torch.stack([left[rows].T @ left[rows] for rows in silent])
    powers, vectors = torch.linalg.eigh(gram)
    if powers.shape[1] == 1:
        return vectors[:, :, 0], torch.full_like(powers[:, 0], torch.inf)
    return vectors[:, :, 0], powers[:, 1].clamp(min=0).sqrt()


def _without_worst(values: Tensor, silent: Tensor) -> Tensor:
    """Silent units but for the 4 % of largest value."""
    ranked = values.where(silent, -torch.inf).argsort(1, descending=True).argsort(1)
    return silent & (ranked >= (silent.sum(1) // 25).clamp(min=1)[:, None])


def _finished(mixture: Mixture, layer: HiddenLayer, silent: Tensor) -> Directions:
    """Those of the null vectors that a firing pattern and errors of one label explain to rounding."""
    left, tolerance = mixture.left, zero(mixture)
    coordinates, second = left.new_zeros(len(silent), mixture.rank), left.new_zeros(len(silent))
    for _ in range(3):
        if not len(silent):
            break
        coordinates, second = null_vectors(left, silent)
        values = (coordinates @ left.T).abs()
        new = values < max(1e-7, 30 * mixture.grain) * values.amax(1, keepdim=True)
        if (new == silent).all():
            break
        silent = new
    values = coordinates @ left.T
    least = (values * silent).norm(dim=1)
    accepted = (least < 3 * tolerance) & (least < SEPARATION * second) & (silent.sum(1) >= mixture.rank - 1)
    labels = torch.zeros(len(silent), dtype=torch.long, device=left.device)
    for i in accepted.nonzero()[:, 0].tolist():
        labels[i], misfit = label_of(values[i], ~silent[i], layer)
        accepted[i] = misfit < max(1e-6, 30 * tolerance if tolerance > 1e-7 else 0)
    return Directions(coordinates[accepted], ~silent[accepted], labels[accepted])


def label_of(delta: Tensor, fires: Tensor, layer: HiddenLayer) -> tuple[int, float]:
    """Label whose error alone is negative, and the relative misfit of δ (n,) to a ∘ readoutᵀ e; ∞ where none is."""
    if fires.sum() <= layer.classes:
        return 0, torch.inf
    errors = errors_of(delta, fires, layer)
    fitted, given = layer.readout[:, fires].T @ errors, delta[fires]
    misfit = float(torch.minimum((fitted - given).norm(), (fitted + given).norm()) / given.norm())
    one_negative = (errors > -1e-6 * errors.abs().max()).sum() >= len(errors) - 1
    return int(errors.argmin()), misfit if one_negative or misfit < 1e-3 else torch.inf


def errors_of(delta: Tensor, fires: Tensor, layer: HiddenLayer) -> Tensor:
    """e (K,) with δ (n,) nearest to a ∘ readoutᵀ e or its negative, that of which the largest entry is negative."""
    errors = torch.linalg.lstsq(layer.readout[:, fires].T, delta[fires][:, None]).solution[:, 0]
    return -errors if -errors.min() < errors.max() else errors
