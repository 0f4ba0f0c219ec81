"""Where shadow models come from: shards and streams, shuffled, bounded, from any step on."""

import numpy as np
import pytest
import torch

from pipeline.errors import Failure, UserError
from pipeline.reconstruction import sources
from pipeline.reconstruction.batches import ShadowBatches
from tests.pipeline.reconstruction.conftest import CPU, LABELS, source_of, write_models


def numbers(batches, step, count):
    stream = batches.from_step(step)
    return [next(stream)[0][:, 0].int().tolist() for _ in range(count)]


def test_an_epoch_shows_every_model_once_in_an_order_of_its_own(shards):
    batches = ShadowBatches(source_of(shards), 10, ("test",), CPU)
    seen = numbers(batches, 0, 20)
    for epoch in (seen[:10], seen[10:]):
        assert sorted(number for batch in epoch for number in batch) == list(range(100))
    assert seen[:10] != seen[10:]
    assert max(seen[0]) - min(seen[0]) > 20, "models of different shards stand side by side"


def test_weights_and_images_of_a_model_stay_together(shards):
    table = shards.concatenated("weights", "indices")
    weights, indices = next(ShadowBatches(source_of(shards), 10, ("test",), CPU).from_step(3))
    rows = weights[:, 0].long().numpy()
    np.testing.assert_array_equal(weights, table["weights"][rows])
    np.testing.assert_array_equal(indices, table["indices"][rows])


@pytest.mark.parametrize("together", [1, 2, 5])
def test_training_goes_on_at_any_step(shards, together):
    source = source_of(shards)
    source.together = together
    batches = ShadowBatches(source, 8, ("test",), CPU)
    whole = numbers(batches, 0, 30)
    for step in (1, 7, 11, 12, 13, 25):
        assert numbers(batches, step, 5) == whole[step : step + 5]


def test_memory_holds_what_was_stated_and_no_more(shards, monkeypatch):
    """A block is as many shards as fit, here two of 480 bytes; the order of blocks goes on over all shards."""
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1000)
    blocks = source_of(shards).blocks()
    epoch = [next(blocks) for _ in range(3)]
    assert [block.models for block in epoch] == [40, 40, 20]
    assert sorted(member for block in epoch for member in block.seeds) == [0, 1, 2, 3, 4]


def test_two_processes_share_the_shards_between_them(shards):
    first, second = (next(source_of(shards, rank, 2).blocks()).seeds for rank in (0, 1))
    assert sorted(first + second) == [0, 1, 2, 3, 4]
    assert not set(first) & set(second)


def test_too_large_a_batch_is_refused(shards):
    with pytest.raises(UserError, match=r"a step shows 101 shadow models, but 100 are in memory"):
        ShadowBatches(source_of(shards), 101, ("test",), CPU)


NAN = np.full((20, 6), 0.0, np.float32)
NAN[7, 3] = np.nan
WITHOUT_CLASS_2 = np.tile(LABELS, (20, 1))
WITHOUT_CLASS_2[5, 2] = 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": NAN}, r"3.h5: weights of model 7 are not finite"),
        ({"weights": NAN[:, :5]}, r"3.h5: its models have 5 weights, those of train-0 6"),
        ({"labels": WITHOUT_CLASS_2}, r"3.h5: class 2 is missing in the training set of model 5"),
        ({"labels": WITHOUT_CLASS_2[:, :3]}, r"3.h5: its models have 3 images each, the victims 4"),
    ],
)
def test_a_shard_that_is_not_like_the_others_stops_training_with_its_name(shards, changed, said):
    write_models(shards.paths["train-3"], 60, **changed)
    with pytest.raises(Failure, match=said):
        numbers(ShadowBatches(source_of(shards), 10, ("test",), CPU), 0, 1)


class Counting:
    """A recipe whose models are numbered, and which remembers what was made."""

    def __init__(self, models):
        self.experiment = type("E", (), {"shadow_models": type("S", (), {"models_per_seed": models})})
        self.made = []

    def make(self, shard):
        seed = int(shard.removeprefix("train-"))
        self.made.append(seed)
        models = torch.arange(10.0)[:, None] + 10 * seed
        return type("M", (), {"weights": models, "indices": models.int().numpy()})


def test_a_stream_never_shows_a_model_twice_and_goes_on_at_any_step():
    stream = sources.Stream(Counting(10), parameters=1)
    batches = ShadowBatches(stream, 8, ("test",), CPU)
    whole = numbers(batches, 0, 50)
    shown = [number for batch in whole for number in batch]
    assert len(set(shown)) == len(shown) == 400
    assert max(whole[0]) - min(whole[0]) > 50, "models of many seeds stand side by side"
    again = Counting(10)
    stream.recipe = again
    assert numbers(batches, 41, 9) == whole[41:]
    assert min(again.made) == 32, "what was used up before is not made again"


def test_two_processes_stream_different_seeds():
    first, second = (sources.Stream(Counting(10), 1, rank, 2).blocks() for rank in (0, 1))
    seeds = [seed for _ in range(3) for source in (first, second) for seed in next(source).seeds]
    assert seeds == list(range(96))
