"""Shuffled batches of shadow models, from wherever these come, without ever holding all of them.

A source gives blocks of models, endlessly: as many as fit a bounded memory, of several permutation seeds. The models of
a block are shuffled together. Which models stand in which step is a function of the source and the seed alone, so
training can go on at any step without having kept a position.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple, Protocol

import torch

from pipeline.errors import UserError
from pipeline.randomness import torch_generator

BLOCK_BYTES = 512 * 1024 * 1024


class Block(NamedTuple):
    """Models that are in memory together: the numbers of their permutation seeds, and how many models there are."""

    seeds: tuple[int, ...]
    models: int


class Source(Protocol):
    def blocks(self) -> Iterator[Block]:
        """All blocks from the beginning on, forever; nothing is read or made for it."""

    def load(self, blocks: Iterator[Block]) -> Iterator[tuple[torch.Tensor, ...]]:
        """(weights (M, P) float32, indices (M, N) int64, and coefficients (M, R, N) if asked for) of each block."""


class ShadowBatches:
    """(weights (B, P), indices (B, N), …) on `device` for every step from a given one on, forever."""

    def __init__(self, source: Source, batch_size: int, purpose: tuple[str | int, ...], device: torch.device):
        self.source, self.batch_size, self.purpose, self.device = source, batch_size, purpose, device
        most = next(source.blocks()).models
        if most < batch_size:
            raise UserError(f"a step shows {batch_size} shadow models, but {most} are in memory together")

    def from_step(self, step: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """A block's models fill whole batches; the few that are left over are dropped."""
        blocks = enumerate(self.source.blocks())
        position, block = next(blocks)
        while step >= block.models // self.batch_size:
            step -= block.models // self.batch_size
            position, block = next(blocks)
        ahead = chain([block], (block for _, block in blocks))
        for number, loaded in enumerate(self.source.load(ahead), position):
            columns = [column.to(self.device) for column in loaded]
            models = len(columns[0])
            order = torch.randperm(models, generator=torch_generator(*self.purpose, number)).to(self.device)
            for batch in range(step, models // self.batch_size):
                rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield tuple(column[rows] for column in columns)
            step = 0
            del loaded, columns
