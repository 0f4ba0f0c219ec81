"""Shadow models from shards, in shuffled batches, never all of them in memory.

An epoch visits the shards in a random order, a few at a time; the models of those few are shuffled together. The order
is a function of (seed, epoch) alone, so training can go on at any step without having kept a position.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.randomness import numpy_generator
from pipeline.store import Shards

BUFFER_BYTES = 512 * 1024 * 1024


class ShadowBatches:
    """(weights (B, P) float32, indices (B, N)) for every step from a given one on, forever."""

    def __init__(self, shards: Shards, batch_size: int, purpose: tuple[str | int, ...]):
        self.shards, self.batch_size, self.purpose = shards, batch_size, purpose
        self.lengths = shards.lengths("weights")
        first = shards.read(shards.names[0], "weights")["weights"]
        self.shards_per_buffer = max(1, BUFFER_BYTES // first.nbytes)
        if self.lengths.sum() < batch_size:
            raise UserError(
                f"reconstructor.batch_size is {batch_size}, but there are {self.lengths.sum()} shadow models"
            )

    def from_step(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, buffers = 0, self._epoch(0)
        while step >= (length := sum(count for _, count in buffers)):
            step, epoch = step - length, epoch + 1
            buffers = self._epoch(epoch)
        with ThreadPoolExecutor(1) as reader:
            while True:
                yield from self._epoch_batches(buffers, epoch, step, reader)
                step, epoch = 0, epoch + 1
                buffers = self._epoch(epoch)

    def _epoch(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        """(shards, number of whole batches) of each buffer of an epoch."""
        order = numpy_generator(*self.purpose, epoch).permutation(len(self.lengths))
        cuts = range(0, len(order), self.shards_per_buffer)
        buffers = [order[cut : cut + self.shards_per_buffer] for cut in cuts]
        return [(members, int(self.lengths[members].sum()) // self.batch_size) for members in buffers]

    def _epoch_batches(self, buffers, epoch: int, skip: int, reader: ThreadPoolExecutor):
        wanted = []
        for position, (members, count) in enumerate(buffers):
            if skip < count:
                wanted.append((position, members, count, skip))
            skip = max(0, skip - count)
        ahead = reader.submit(self._read, wanted[0][1]) if wanted else None
        for place, (position, _, count, start) in enumerate(wanted):
            weights, indices = ahead.result()
            if place + 1 < len(wanted):
                ahead = reader.submit(self._read, wanted[place + 1][1])
            order = torch.as_tensor(numpy_generator(*self.purpose, epoch, position).permutation(len(weights)))
            for batch in range(start, count):
                rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield weights[rows], indices[rows]

    def _read(self, members: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        names = self.shards.names
        chosen = Shards({names[member]: self.shards.paths[names[member]] for member in members})
        table = chosen.concatenated("weights", "indices")
        return torch.as_tensor(table["weights"]).float(), torch.as_tensor(table["indices"]).long()
