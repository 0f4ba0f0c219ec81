"""Small shadow models in shards, and a training of a few steps on them."""

from functools import partial

import numpy as np
import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.evaluation.min_mse import Scores
from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.processes import Processes
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.reconstruction.examples import weight_examples
from pipeline.reconstruction.settings import Reconstructor as Settings
from pipeline.reconstruction.sources import ShardSource
from pipeline.reconstruction.train import Lesson, train_reconstructor
from pipeline.statistics import Standardisation
from pipeline.store import Result, Shards, write_shard

LABELS = np.arange(4, dtype=np.int32)
CPU = torch.device("cpu")


def write_models(path, first: int, count: int = 20, **changed: np.ndarray) -> None:
    """`count` models of 6 weights and 4 images; the first weight is the model's number."""
    rng = np.random.default_rng(first)
    weights = rng.normal(size=(count, 6)).astype(np.float32)
    weights[:, 0] = np.arange(first, first + count)
    indices = rng.integers(0, 30, (count, 4), dtype=np.int32)
    arrays = {"weights": weights, "indices": indices, "labels": np.tile(LABELS, (count, 1))}
    write_shard(path, Result(arrays | changed), "f", {})


@pytest.fixture
def shards(tmp_path):
    """Five shards of 20 models, numbered from 0 on."""
    paths = {f"train-{k}": tmp_path / f"{k}.h5" for k in range(5)}
    for k, path in enumerate(paths.values()):
        write_models(path, 20 * k)
    return Shards(paths)


def source_of(shards, *part) -> ShardSource:
    return ShardSource(shards, LABELS, ("order",), *part)


def scores(value: float = 0.5) -> Scores:
    return Scores(np.array([[value]]), np.zeros((1, 1), int), np.zeros((1, 1, 1, 16, 16), np.uint8), {})


def train(shards, directory, *, mode="conditional", period=3600.0, stop_at=None, watched=(), part=(0, 1), **changed):
    """Trains a tiny network; `stop_at`: the validation that is interrupted; `watched`: what validations find."""
    chosen = {"steps": 24, "batch_size": 8, "learning_rate": 1e-2, "validate_every": 5, "schedule": "cosine"}
    settings = Settings(width=2, **chosen | changed)
    standardise = Standardisation(torch.ones(6, dtype=torch.bool), torch.zeros(6), torch.ones(6))
    images = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    network = Reconstructor(6, 1, 16, 2, classes=4 if mode == "conditional" else 0)
    initialise(network, torch.Generator().manual_seed(2))
    models = settings.batch_size // part[1]
    calls = 0

    def validate(judged):
        nonlocal calls
        if calls == stop_at:
            raise KeyboardInterrupt
        calls += 1
        return scores(watched[calls - 1] if watched else float(judged.final[2].weight.detach().abs().mean()))

    examples = weight_examples(
        ShadowBatches(source_of(shards, *part), models, ("batches",), CPU).from_step,
        standardise,
        partial(candidate_groups, class_size=1, mode=mode, task="multiclass"),
        network.classes,
        models,
        ("class", part[0]),
    )
    state, _ = train_reconstructor(
        Lesson(network, examples, images, settings, validate),
        checkpoint=Checkpoint(directory / "c", "f", period),
        processes=Processes(part[0], part[1]),
    )
    return state
