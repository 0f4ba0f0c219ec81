"""Adversaries without the model: one image guessed for every victim, from the adversary's own images alone.

A reconstruction counts as a hit where it lies within a threshold of an image that trained the victim. So does a guess
that never looked at the weights; how often it hits is what an attack must exceed, and, as the prior's success κ, where
reconstruction robustness starts from (privacy.robustness). Guesses are chosen on the adversary's own images only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.data.images import to_unit
from pipeline.evaluation.min_mse import mean_squared_errors

ADVERSARIES = {
    "class_mean": "mean image of the class",
    "training_image": "training image with the most others within the threshold",
    "best_image": "single image with the most within the threshold (mean shift)",
}
MOST_IMAGES = 8192
"""Of a class that guesses are sought among and judged by; a larger class is thinned at random."""
STARTS, CLIMBS = 64, 12
"""Mean shift starts from the mean and so many of the best training images, and takes so many steps."""
BLOCK = 1024


@dataclass(frozen=True)
class Guesses:
    """images: adversary → (K, C, S, S) in [-1, 1], one guess a class. success: adversary → (K, K), the share of the
    adversary's own images of class j within the threshold of the guess for class i."""

    images: Mapping[str, Tensor]
    success: Mapping[str, np.ndarray]

    def for_group(self, adversary: str, classes: np.ndarray) -> int:
        """The guess that is likeliest to hit one of J images of the `classes` (J,): of those for such classes, the one
        with the largest 1 − Π_j (1 − success_j)."""
        own = np.unique(classes)
        missed = np.prod(1 - self.success[adversary][own][:, classes], axis=1)
        return int(own[missed.argmin()])


def prior_guesses(
    images: Tensor,
    classes: np.ndarray,
    threshold: float,
    generator: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Guesses:
    """From the adversary's images (n, C, S, S) uint8 of classes (n,), each of 0 … K − 1 there at least once."""
    kinds = int(classes.max()) + 1
    pools = []
    for kind in range(kinds):
        rows = np.flatnonzero(classes == kind)
        if len(rows) > MOST_IMAGES:
            rows = np.sort(generator.choice(rows, MOST_IMAGES, replace=False))
        pools.append(to_unit(images[torch.as_tensor(rows).to(images.device)]).flatten(1))
    found: dict[str, list[Tensor]] = {name: [] for name in ADVERSARIES}
    for kind, pool in enumerate(pools):
        mean, ranked = pool.mean(0, keepdim=True), shares(pool, pool, threshold).argsort(descending=True, stable=True)
        found["class_mean"].append(mean[0])
        found["training_image"].append(pool[ranked[0]])
        found["best_image"].append(best_image(torch.cat([mean, pool[ranked[:STARTS]]]), pool, threshold))
        progress(kind + 1, kinds, f"guesses for class {kind}")
    guesses = {name: torch.stack(rows) for name, rows in found.items()}
    success = {
        name: torch.stack([shares(rows, pool, threshold) for pool in pools], 1).cpu().double().numpy()
        for name, rows in guesses.items()
    }
    return Guesses({name: rows.unflatten(1, images.shape[1:]) for name, rows in guesses.items()}, success)


def best_image(starts: Tensor, pool: Tensor, threshold: float) -> Tensor:
    """(d,): of all that mean shift from the `starts` (S, d) passes, the image with most of the pool (n, d) within the
    threshold. A step goes to the mean of what lies within it (Fukunaga and Hostetler 1975)."""
    best, most = starts[0], torch.tensor(-1.0)
    for _ in range(CLIMBS):
        means, shared = [], []
        for distances in _blocks(starts, pool):
            near = (distances <= threshold).float()
            means.append(near @ pool)
            shared.append(near.sum(1))
        count = torch.cat(shared)
        leading = count.argmax()
        if count[leading] > most:
            best, most = starts[leading], count[leading]
        starts = torch.where(count[:, None] > 0, torch.cat(means) / count.clamp(min=1)[:, None], starts)
    return best


def shares(guesses: Tensor, pool: Tensor, threshold: float) -> Tensor:
    """(m,): of each guess (m, d) the share of the pool (n, d) whose mean squared error from it is within the
    threshold."""
    return torch.cat([(distances <= threshold).float().mean(1) for distances in _blocks(guesses, pool)])


def _blocks(guesses: Tensor, pool: Tensor) -> Iterator[Tensor]:
    """Mean squared errors (BLOCK, n) of guesses from the pool, by a matrix product."""
    norms = pool.square().sum(1)
    for block in guesses.split(BLOCK):
        yield (block.square().sum(1, keepdim=True) + norms - 2 * block @ pool.T) / pool.shape[1]


def guess_distances(guesses: Guesses, images: Tensor, groups: Tensor, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Adversary → (V, G), MSE in [-1, 1] from its guess to the nearest candidate.

    images (n, C, S, S) uint8 and their classes (n,), of which groups (V, G, J) are the candidates. Training sets are
    dealt class after class, so a group's classes are those of the first victim.
    """
    found = {}
    for name, guessed in guesses.images.items():
        columns = []
        for group in range(groups.shape[1]):
            chosen = guessed[guesses.for_group(name, classes[groups[0, group].cpu().numpy()])]
            parts = [
                mean_squared_errors(chosen.expand(len(part), *chosen.shape), to_unit(images[part])).amin(1)
                for part in groups[:, group].split(BLOCK)
            ]
            columns.append(torch.cat(parts))
        found[name] = torch.stack(columns, 1).double().cpu().numpy()
    return found


def record_distances(guesses: Guesses, images: Tensor, records: Tensor, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Adversary → (V, G), MSE in [-1, 1] from its guess for the class of a record to that record alone; records (V, G).

    The adversary of reconstruction robustness knows all other records, and so, sets being balanced, the class.
    """
    found = {}
    for name, guessed in guesses.images.items():
        rows = []
        for part in records.split(max(1, BLOCK // records.shape[1])):
            chosen = guessed[torch.as_tensor(classes[part.cpu().numpy()]).to(guessed.device)]
            rows.append((chosen - to_unit(images[part])).square().mean((2, 3, 4)))
        found[name] = torch.cat(rows).double().cpu().numpy()
    return found
