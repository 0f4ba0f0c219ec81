"""Statistics of shadow weights over all shards: moments that merge exactly, correlation, and weights of no model (H1).

A block is an array of weights (n, P), NumPy or torch, on any device. Sums are float64.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError

ROWS = 2048
"""Models in one product; 32 at a time are enough for sums, which then stay in a core's cache."""
COLUMNS = 512
"""Width of a tile of the product; only tiles on and above the diagonal are computed."""
RIDGE = 1e-5
"""Added to the correlation's diagonal for H1, as published (arXiv 2505.14323)."""


@dataclass(frozen=True)
class Moments:
    """Of `count` weight vectors: their mean (P,) and the sums (P,) of squared distances from it."""

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def from_weights(cls, block) -> "Moments":
        """Moments of a block (n, P). Sums run over distances from its first row, so a constant has exactly none."""
        weights = torch.as_tensor(block)
        shift = weights[0].double()
        distances = weights.double() - shift
        mean = distances.mean(0)
        return cls(len(weights), shift + mean, distances.sub_(mean).square_().sum(0))

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        squares = self.squares + other.squares + step.square() * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), squares)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation (P,), of the population: divided by the count."""
        return (self.squares / self.count).sqrt()


def moments_of(blocks: Iterable) -> Moments:
    """Moments of all blocks together, with little memory besides a block's own."""
    return reduce(Moments.merge, map(Moments.from_weights, pieces(blocks, 32)))


@dataclass(frozen=True)
class Standardisation:
    """Makes weights (n, P) into z (n, P'): mean 0, deviation 1; weights that never vary are dropped.

    kept: (P,), true where a weight varies; mean, deviation: (P',), of the kept ones.
    """

    kept: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, moments: Moments) -> "Standardisation":
        """Raises UserError when a weight is not finite or none varies."""
        deviation = moments.deviation
        if not deviation.isfinite().all():
            column = (~deviation.isfinite()).nonzero()[0].item()
            raise UserError(f"weight {column} is not finite in every shadow model: train the shards again")
        kept = deviation > 0
        if not kept.any():
            raise UserError(f"no weight varies over {moments.count} shadow models: nothing to standardise")
        return cls(kept, moments.mean[kept], deviation[kept])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> "Standardisation":
        """From the data sets kept, mean and deviation of a shard."""
        return cls(*(torch.as_tensor(arrays[name]).to(device) for name in ("kept", "mean", "deviation")))

    @cached_property
    def dropped(self) -> int:
        return int((~self.kept).sum())

    @cached_property
    def columns(self) -> Tensor:
        """(P',) the places of the kept weights; known once, so that `apply` need not wait for a GPU to count them."""
        return self.kept.nonzero()[:, 0]

    def apply(self, weights) -> Tensor:
        """z (n, P') of weights (n, P), float32."""
        kept = torch.as_tensor(weights)[:, self.columns] if self.dropped else torch.as_tensor(weights)
        return (kept.double() - self.mean).div_(self.deviation).float()

    def restore(self, z: Tensor) -> Tensor:
        """Weights (n, P) of z (n, P'), float32; what was dropped because it never varies is 0."""
        weights = z.new_zeros(len(z), len(self.kept))
        weights[:, self.columns] = (z.double() * self.deviation + self.mean).float()
        return weights


def correlation(blocks: Iterable, standardisation: Standardisation) -> Tensor:
    """Covariance (P', P') of standardised weights over all blocks ("covnorm"), float64.

    Products are float32 within ROWS models and float64 between them: an entry is good to 1e-7. Needs 8·P'² bytes and
    little else, P'² multiplications a model.
    """
    width = len(standardisation.mean)
    total = standardisation.mean.new_zeros(width, width)
    count = 0
    for z in standardised(blocks, standardisation):
        count += len(z)
        for start in range(0, width, COLUMNS):
            stop = min(start + COLUMNS, width)
            total[start:stop, start:].add_(z[:, start:stop].mT @ z[:, start:])
    for start in range(0, width, COLUMNS):
        stop = min(start + COLUMNS, width)
        total[stop:, start:stop] = total[start:stop, stop:].mT
    return total.div_(count)


def h1_from_correlation(correlation: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Standardised weights (draws, P') of no model: N(0, correlation + 1e-5·I). Overwrites `correlation`.

    The factorisation is in float64: with fewer models than weights the matrix is singular but for the ridge, which
    float32 cannot see beside the largest eigenvalue.
    """
    correlation.diagonal().add_(RIDGE)
    factor = torch.linalg.cholesky(correlation, out=correlation)
    drawn = torch.empty(draws, len(factor), device=factor.device)
    for rows in drawn.split(ROWS):
        noise = torch.randn(rows.shape, generator=generator, dtype=torch.float64, device=factor.device)
        rows.copy_(noise @ factor.mT)
    return drawn


def h1_from_weights(
    blocks: Iterable, standardisation: Standardisation, draws: int, generator: torch.Generator
) -> Tensor:
    """The law of `h1_from_correlation` without the matrix: n^-½ Σ_i ε_i z_i over all n models, in one pass.

    (draws, P'), float32. The draws depend on the order and the sizes of the blocks.
    """
    place = {"generator": generator, "device": standardisation.mean.device}
    total = standardisation.mean.new_zeros(draws, len(standardisation.mean))
    count = 0
    for z in standardised(blocks, standardisation):
        count += len(z)
        total.add_(torch.randn(draws, len(z), **place) @ z)
    ridge = torch.randn(total.shape, **place).mul_(RIDGE**0.5)
    return total.div_(count**0.5).float().add_(ridge)


def standardised(blocks: Iterable, standardisation: Standardisation) -> Iterable[Tensor]:
    return map(standardisation.apply, pieces(blocks, ROWS))


def pieces(blocks: Iterable, rows: int) -> Iterable[Tensor]:
    """The blocks' rows in order, in blocks of at most the size that is asked for."""
    return chain.from_iterable(torch.as_tensor(block).split(rows) for block in blocks)
