"""Where shadow models come from while the reconstructor trains: shards on disk, or a stream made as it flows."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.errors import Failure, UserError
from pipeline.head_inversion import lessons
from pipeline.randomness import numpy_generator
from pipeline.reconstruction.batches import BLOCK_BYTES, Block
from pipeline.shadow import seeds
from pipeline.shadow.recipe import Recipe, head_of
from pipeline.store import Shards

if TYPE_CHECKING:
    from pipeline.config import Experiment

SEEDS_TOGETHER = 16
"""Seeds whose models a stream shuffles together, or fewer where memory ends: within a seed no image comes twice."""


WEIGHTS = ("weights", "indices")
HEADS = ("weights", "indices", "coefficients")
"""Columns of a shadow model that a source may give, each with one row a model."""


def training_source(
    experiment: "Experiment",
    inputs: Mapping[str, Shards],
    expected: np.ndarray,
    purpose: tuple[str | int, ...],
    device: torch.device,
    part: tuple[int, int] = (0, 1),
    columns: tuple[str, ...] = WEIGHTS,
) -> "ShardSource | Stream":
    """The models that an experiment learns from: training seeds, from shards or as a stream as `shadow_models.source`
    says, or a stream of heads on augmented images.

    `inputs`: what the stage reads; `part`: (number, count) of the processes that share the work.
    """
    first = lessons.first_seed(experiment)
    augmented = first.startswith("augmented")
    if experiment.shadow_models.source == "shards" and not augmented:
        return ShardSource(inputs["shadow_models"].matching("train"), expected, purpose, *part, columns)
    recipe = Recipe.of(experiment, first, inputs["deep_features"], device)
    named = seeds.augmented_seed if augmented else seeds.training_seed
    return Stream(recipe, head_of(experiment).size, *part, columns, named)


def check_batch_size(experiment: "Experiment", key: str, models: int) -> None:
    """Raises UserError, naming the experiment's `key`, where a step shows more shadow models than are in memory
    together."""
    shadow = experiment.shadow_models
    reads_shards = shadow.source == "shards" and lessons.first_seed(experiment) == seeds.training_seed(0)
    fitting = _seeds_that_fit(shadow.models_per_seed, head_of(experiment).size)
    most = min(shadow.seeds if reads_shards else SEEDS_TOGETHER, fitting) * shadow.models_per_seed
    if models > most:
        raise UserError(
            f"{key}: a step shows {models} shadow models, but {most} are in memory together; lower it, or raise "
            "shadow_models.models_per_seed or shadow_models.seeds"
        )


def _seeds_that_fit(models: int, parameters: int) -> int:
    """How many permutation seeds of `models` models a block holds."""
    return max(1, BLOCK_BYTES // (models * parameters * 4))


class ShardSource:
    """Epochs over the shards, in an order of each epoch's own; the next block is read while one is trained on.

    `expected` (N,) are the labels that every model must have learnt; `columns` says what is given of each model. Of
    several processes each reads its own part.
    """

    def __init__(
        self,
        shards: Shards,
        expected: np.ndarray,
        purpose: tuple[str | int, ...],
        process: int = 0,
        processes: int = 1,
        columns: tuple[str, ...] = WEIGHTS,
    ):
        self.shards, self.expected, self.purpose, self.columns = shards, expected, purpose, columns
        self.process, self.processes = process, processes
        self.lengths = shards.lengths("weights")
        self.parameters = shards.width("weights")
        self.together = _seeds_that_fit(int(self.lengths.max()), self.parameters)

    def blocks(self) -> Iterator[Block]:
        for epoch in count():
            order = numpy_generator(*self.purpose, epoch).permutation(len(self.lengths))
            order = order[self.process :: self.processes]
            for start in range(0, len(order), self.together):
                members = order[start : start + self.together]
                yield Block(tuple(members.tolist()), int(self.lengths[members].sum()))

    def load(self, blocks: Iterator[Block]) -> Iterator[tuple[torch.Tensor, ...]]:
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, next(blocks))
            while True:
                ready, ahead = ahead, reader.submit(self._read, next(blocks))
                yield ready.result()
                del ready

    def _read(self, block: Block) -> tuple[torch.Tensor, ...]:
        read: dict[str, torch.Tensor] = {}
        start = 0
        for member in block.seeds:
            name = self.shards.names[member]
            table = self.shards.read(name, *self.columns, "labels")
            self._check(name, table)
            stop = start + len(table["weights"])
            for column in self.columns:
                if column not in read:
                    dtype = torch.int64 if column == "indices" else torch.float32
                    read[column] = torch.empty(block.models, *table[column].shape[1:], dtype=dtype)
                read[column][start:stop] = torch.as_tensor(table[column])
            start = stop
        return tuple(read[column] for column in self.columns)

    def _check(self, name: str, table: dict[str, np.ndarray]) -> None:
        where, again = self.shards.paths[name], "remove it, and `python -m jobs resume` makes it again"
        if table["weights"].shape[1] != self.parameters:
            raise Failure(
                f"{where}: its models have {table['weights'].shape[1]} weights, those of {self.shards.names[0]} "
                f"{self.parameters}; {again}"
            )
        if lost := (~np.isfinite(table["weights"]).all(1)).nonzero()[0].tolist():
            raise Failure(f"{where}: weights of model {lost[0]} are not finite; {again}")
        labels = table["labels"]
        if labels.shape[1] != len(self.expected):
            raise Failure(
                f"{where}: its models have {labels.shape[1]} images each, the victims {len(self.expected)}; {again}"
            )
        if other := (labels != self.expected).any(1).nonzero()[0].tolist():
            missing = sorted(set(self.expected.tolist()) - set(labels[other[0]].tolist()))
            what = f"class {missing[0]} is missing" if missing else "classes stand in another order"
            raise Failure(f"{where}: {what} in the training set of model {other[0]}; {again}")


class Stream:
    """A fresh permutation seed for every block, made on the device that trains; the models that shards would hold."""

    def __init__(
        self,
        recipe: Recipe,
        parameters: int,
        process: int = 0,
        processes: int = 1,
        columns: tuple[str, ...] = WEIGHTS,
        named: Callable[[int], str] = seeds.training_seed,
    ):
        self.named = named
        self.recipe, self.process, self.processes, self.columns = recipe, process, processes, columns
        self.models = recipe.experiment.shadow_models.models_per_seed
        self.together = min(SEEDS_TOGETHER, _seeds_that_fit(self.models, parameters))

    def blocks(self) -> Iterator[Block]:
        for number in count(self.process, self.processes):
            seeds = range(number * self.together, (number + 1) * self.together)
            yield Block(tuple(seeds), self.models * self.together)

    def load(self, blocks: Iterator[Block]) -> Iterator[tuple[torch.Tensor, ...]]:
        for block in blocks:
            made = [self.recipe.make(self.named(seed)) for seed in block.seeds]
            weights = torch.cat([part.weights for part in made]).float()
            indices = torch.as_tensor(np.concatenate([part.indices for part in made])).long()
            if "coefficients" not in self.columns:
                yield weights, indices
            else:
                yield weights, indices, torch.cat([part.coefficients for part in made])
