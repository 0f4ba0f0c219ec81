"""The reconstruction loss, the stream of shadow models and the training loop."""

from functools import partial

import numpy as np
import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure, UserError
from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.reconstruction.losses import reconstruction_loss
from pipeline.reconstruction.settings import Reconstructor as Settings
from pipeline.reconstruction.train import learning_rate, train_reconstructor
from pipeline.statistics import Standardisation
from pipeline.store import Result, Shards, write_shard


def test_loss_of_one_candidate_is_half_of_mse_plus_mae():
    images, candidate = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, 1, 1, 4, 4)
    assert reconstruction_loss(images, candidate, 100.0).item() == pytest.approx(0.5 * (0.25 + 0.5))


def test_soft_minimum_is_the_nearest_when_sharp_and_the_mean_when_flat():
    images = torch.zeros(1, 1, 2, 2)
    candidates = torch.tensor([0.1, 0.4]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 2)
    errors = torch.tensor([0.5 * (0.01 + 0.1), 0.5 * (0.16 + 0.4)])
    assert reconstruction_loss(images, candidates, 1e4).item() == pytest.approx(errors[0].item())
    assert reconstruction_loss(images, candidates, 1e-6).item() == pytest.approx(errors.mean().item(), rel=1e-4)
    weights = torch.softmax(-100 * errors, 0)
    assert reconstruction_loss(images, candidates, 100.0).item() == pytest.approx((errors * weights).sum().item())


def test_candidates_of_each_kind():
    indices = torch.arange(40).view(2, 20)
    assert candidate_groups(indices, 2, "conditional", "multiclass")[1, 3].tolist() == [26, 27]
    assert candidate_groups(indices, 2, "unconditional", "multiclass").shape == (2, 1, 20)
    assert candidate_groups(indices, 2, "unconditional", "identity")[1].tolist() == [[20, 21]]


@pytest.fixture
def shards(tmp_path):
    """Five shards of 20 models whose first weight is their number."""
    paths = {}
    for k in range(5):
        numbers = np.arange(20 * k, 20 * (k + 1), dtype=np.float32)
        weights = np.random.default_rng(k).normal(size=(20, 6)).astype(np.float32)
        weights[:, 0] = numbers
        indices = np.random.default_rng(k).integers(0, 30, (20, 4), dtype=np.int32)
        paths[f"train-{k}"] = tmp_path / f"{k}.h5"
        write_shard(paths[f"train-{k}"], Result({"weights": weights, "indices": indices}), "f", {})
    return Shards(paths)


def numbers(batches, step, count):
    stream = batches.from_step(step)
    return [next(stream)[0][:, 0].int().tolist() for _ in range(count)]


def test_an_epoch_shows_every_model_once_in_an_order_of_its_own(shards):
    batches = ShadowBatches(shards, 10, ("test",))
    seen = numbers(batches, 0, 20)
    for epoch in (seen[:10], seen[10:]):
        assert sorted(number for batch in epoch for number in batch) == list(range(100))
    assert seen[:10] != seen[10:]
    assert max(seen[0]) - min(seen[0]) > 20, "models of different shards stand side by side"


@pytest.mark.parametrize("per_buffer", [1, 2, 5])
def test_the_stream_goes_on_at_any_step(shards, per_buffer):
    batches = ShadowBatches(shards, 8, ("test",))
    batches.shards_per_buffer = per_buffer
    whole = numbers(batches, 0, 30)
    for step in (1, 7, 11, 12, 13, 25):
        assert numbers(batches, step, 5) == whole[step : step + 5]


def test_too_large_a_batch_is_refused(shards):
    with pytest.raises(UserError, match=r"reconstructor.batch_size is 101, but there are 100"):
        ShadowBatches(shards, 101, ("test",))


def test_schedules():
    constant = Settings(width=2, steps=100, learning_rate=1.0)
    assert [learning_rate(constant, step) for step in (0, 50, 99)] == [1, 1, 1]
    cosine = Settings(width=2, steps=100, learning_rate=1.0, schedule="cosine", warmup_steps=9)
    assert learning_rate(cosine, 0) == pytest.approx(0.1)
    assert learning_rate(cosine, 50) == pytest.approx(0.5)
    assert learning_rate(cosine, 99) < 0.001


def train(shards, directory, *, steps=24, mode="conditional", period=3600.0, stop_at=None, rate=1e-2):
    standardise = Standardisation(torch.ones(6, dtype=torch.bool), torch.zeros(6), torch.ones(6))
    images = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    network = Reconstructor(6, 1, 16, 2, classes=4 if mode == "conditional" else 0)
    initialise(network, torch.Generator().manual_seed(2))
    settings = Settings(width=2, steps=steps, batch_size=8, learning_rate=rate, validate_every=5, schedule="cosine")

    def progress(done, total, text):
        pass

    def validate(network):
        if stop_at is not None and validate.calls == stop_at:
            raise KeyboardInterrupt
        validate.calls += 1
        return 0.5

    validate.calls = 0
    history = train_reconstructor(
        network,
        ShadowBatches(shards, settings.batch_size, ("order",)).from_step,
        images,
        partial(candidate_groups, class_size=1, mode=mode, task="multiclass"),
        standardise,
        settings,
        purpose=("class",),
        perceptual=None,
        validate=validate,
        checkpoint=Checkpoint(directory / "c", "f", period),
        progress=progress,
    )
    return network, history


@pytest.mark.parametrize("mode", ["conditional", "unconditional"])
def test_training_lowers_the_loss(shards, tmp_path, mode):
    _, history = train(shards, tmp_path, steps=60, mode=mode)
    assert history["step"][-1] == 60
    assert history["loss"][-1] < 0.9 * history["loss"][0]


@pytest.mark.parametrize("stop_at", [0, 2])
def test_stopped_and_resumed_training_ends_with_the_same_bits(shards, tmp_path, stop_at):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, history = train(shards, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "parts", period=0.0, stop_at=stop_at)
    resumed, again = train(shards, tmp_path / "parts")
    assert again == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_diverging_loss_stops_at_once_and_keeps_the_last_good_state(shards, tmp_path):
    with pytest.raises(Failure, match=r"diverged: loss .* at step \d+; lower reconstructor.learning_rate"):
        train(shards, tmp_path, rate=1e30, period=0.0)
    state = Checkpoint(tmp_path / "c", "f").load(torch.device("cpu"))
    assert state is None or all(tensor.isfinite().all() for tensor in state["network"].values())
