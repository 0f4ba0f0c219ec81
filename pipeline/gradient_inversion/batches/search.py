"""The core of a batch that peeling leaves: rounds of starts, each image found making room for the others."""

import torch
from torch import Tensor

from pipeline.gradient_inversion.batches.mixture import HiddenLayer, Mixture
from pipeline.gradient_inversion.batches.patterns import Settled, settle
from pipeline.gradient_inversion.batches.polish import Directions, polish
from pipeline.gradient_inversion.batches.starts import KINDS, Classes, starts

NEAR = 0.15
"""Largest misfit of a settled pattern that is polished."""
SAME = 0.998
"""Cosine from which on two patterns are taken for the same image's."""
CHUNK = 16
"""Candidates that are polished together."""


def search(
    mixture: Mixture, layer: HiddenLayer, classes: Classes, most_starts: int, generator: torch.Generator
) -> tuple[Directions, int]:
    """Exact δ, up to scale, of images of the mixture, all of them or as many as `most_starts` starts lead to.

    And the number of starts that were made.
    """
    rank, device = mixture.rank, mixture.left.device
    found = Directions(
        mixture.left.new_zeros(0, rank),
        torch.zeros(0, len(mixture.left), dtype=torch.bool, device=device),
        torch.zeros(0, dtype=torch.long, device=device),
    )
    rest, spent, turn = torch.eye(rank, dtype=mixture.left.dtype, device=device), 0, 0
    while len(found.labels) < rank and spent < most_starts:
        number = min(400, max(60, 3 * len(rest)))
        begun = starts(mixture, layer, classes, found.labels, rest, turn % KINDS, number, generator)
        spent, turn = spent + number, turn + 1
        before = len(found.labels)
        if len(begun[0]):
            found = _polished(mixture, layer, settle(mixture, layer, *begun), found)
        if len(found.labels) > before:
            rest = _unexplained(mixture, found.coordinates)
    return found, spent


def _polished(mixture: Mixture, layer: HiddenLayer, settled: Settled, found: Directions) -> Directions:
    near = settled.misfit < NEAR
    fires, guess = settled.fires[near], settled.guess[near]
    ahead = torch.nn.functional.normalize((fires * guess) @ mixture.left, dim=1)
    most = 2 * (mixture.rank - len(found.labels)) + 20
    tried = 0
    waiting = _distinct(ahead, found.coordinates)[:most]
    while len(waiting) and len(found.labels) < mixture.rank and tried < most:
        some, waiting = waiting[:CHUNK], waiting[CHUNK:]
        tried += len(some)
        found = _joined(found, polish(mixture, layer, fires[some], guess[some]), mixture.rank)
        if len(waiting) and len(found.coordinates):
            waiting = waiting[(ahead[waiting] @ found.coordinates.T).abs().amax(1) < SAME]
    return found


def _distinct(directions: Tensor, known: Tensor) -> Tensor:
    """Indices of directions (m, B), in order, that repeat neither a known one nor an earlier one."""
    kept: list[int] = []
    alike = (directions @ directions.T).abs() > SAME
    repeated = (directions @ known.T).abs().gt(SAME).any(1)
    for i in range(len(directions)):
        if not repeated[i]:
            kept.append(i)
            repeated |= alike[i]
    return torch.tensor(kept, dtype=torch.long, device=directions.device)


def _joined(found: Directions, more: Directions, most: int) -> Directions:
    coordinates = found.coordinates
    kept: list[int] = []
    for i, direction in enumerate(more.coordinates):
        if len(coordinates) < most and not ((coordinates @ direction).abs() > 1 - 1e-6).any():
            kept.append(i)
            coordinates = torch.cat([coordinates, direction[None]])
    return Directions(
        coordinates, torch.cat([found.fires, more.fires[kept]]), torch.cat([found.labels, more.labels[kept]])
    )


def _unexplained(mixture: Mixture, coordinates: Tensor) -> Tensor:
    """Orthonormal coordinates (m, B) of the inputs still to be found: q · S⁻¹ r_c = 0 for every c found."""
    whole = torch.linalg.svd(coordinates / mixture.strength, full_matrices=True)[2]
    return whole[len(coordinates) :]
