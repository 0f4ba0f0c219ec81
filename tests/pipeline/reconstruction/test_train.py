"""The training loop: schedules, averages, the best state, resumption to the same bits, and what stops it."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure, UserError
from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.reconstruction import forward
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.board import TensorBoard, check_tensorboard
from pipeline.reconstruction.examples import class_labels
from pipeline.reconstruction.forward import compiled
from pipeline.reconstruction.precision import autocast, products, resolved
from pipeline.reconstruction.settings import Reconstructor as Settings
from pipeline.reconstruction.train import learning_rate
from tests.pipeline.reconstruction.conftest import CPU, scores, source_of, train
from tests.reference.reconstructor_training import PlainReconstructor, plain_step


def test_schedules():
    constant = Settings(width=2, steps=100, learning_rate=1.0)
    assert [learning_rate(constant, step) for step in (0, 50, 99)] == [1, 1, 1]
    cosine = Settings(width=2, steps=100, learning_rate=1.0, schedule="cosine", warmup_steps=9)
    assert learning_rate(cosine, 0) == pytest.approx(0.1)
    assert learning_rate(cosine, 50) == pytest.approx(0.5)
    assert learning_rate(cosine, 99) < 0.001


def test_classes_are_drawn_evenly_and_alike_from_any_step_on():
    whole, later = class_labels(10, 50, ("c",), 0, CPU), class_labels(10, 50, ("c",), 1990, CPU)
    drawn = [next(whole) for _ in range(2010)]
    assert all(torch.equal(next(later), label) for label in drawn[1990:])
    counts = torch.cat(drawn).bincount(minlength=10)
    assert (counts - 10050).abs().max() < 5 * math.sqrt(10050)
    assert next(class_labels(0, 50, ("c",), 0, CPU)) is None


@pytest.mark.parametrize("mode", ["conditional", "unconditional"])
def test_training_lowers_the_loss(shards, tmp_path, mode):
    history = train(shards, tmp_path, steps=60, mode=mode).history
    assert history["step"][-1] == 60
    assert history["loss"][-1] < 0.9 * history["loss"][0]


@pytest.mark.parametrize("mode", ["conditional", "unconditional"])
def test_the_loss_curve_is_that_of_the_published_loop(shards, tmp_path, mode):
    """Step by step from the same weights on the same batches; rounding is all that differs."""
    steps, labels = 20, class_labels(4 if mode == "conditional" else 0, 8, ("class", 0), 0, CPU)
    ours = train(shards, tmp_path, steps=steps, mode=mode, schedule="constant", validate_every=1).history["loss"]
    images = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    start = Reconstructor(6, 1, 16, 2, classes=4 if mode == "conditional" else 0)
    initialise(start, torch.Generator().manual_seed(2))
    plain = PlainReconstructor(6, 1, 16, 2, start.classes)
    plain.load_state_dict(start.state_dict())
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    stream = ShadowBatches(source_of(shards), 8, ("batches",), CPU).from_step(0)
    losses = []
    for weights, indices in islice(stream, steps):
        label = next(labels)
        chosen = indices if label is None else indices[torch.arange(8), label][:, None]
        losses.append(plain_step(plain, optimizer, weights, label, images[chosen] / 127.5 - 1).item())
    np.testing.assert_allclose(ours, losses, rtol=2e-3)


CHOICES = [
    {},
    {"average": 0.9, "clip_norm": 0.5},
    {"mode": "unconditional", "precision": "bfloat16"},
    {"precision": "float16", "average": 0.9, "clip_norm": 0.5},
]


@pytest.mark.parametrize("stop_at", [0, 2])
@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_stopped_and_resumed_training_ends_with_the_same_bits(shards, tmp_path, stop_at, choices):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = train(shards, tmp_path / "whole", **choices).saved()
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "parts", period=0.0, stop_at=stop_at, **choices)
    resumed = train(shards, tmp_path / "parts", **choices).saved()
    assert same(whole, resumed)


def same(one, other) -> bool:
    """Equal to the last bit, all the way down."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_the_average_is_the_one_written_out(shards, tmp_path):
    """The states of three steps, one after the other, into that of none; the decay rises from 0.1 on."""
    constant = {"schedule": "constant", "validate_every": 100}
    untrained = Reconstructor(6, 1, 16, 2, classes=4)
    initialise(untrained, torch.Generator().manual_seed(2))
    expected = untrained.state_dict()
    for step in (1, 2, 3):
        now = train(shards, tmp_path, steps=step, **constant).network.state_dict()
        decay = min(0.15, step / (step + 9))
        expected = {name: decay * mean + (1 - decay) * now[name] for name, mean in expected.items()}
    averaged = train(shards, tmp_path, steps=3, average=0.15, **constant).eval_network.state_dict()
    for name in ("convT.weight", "final.2.bias", "model.0.bn1.running_mean"):
        torch.testing.assert_close(averaged[name], expected[name])


def test_gradients_are_clipped_to_the_stated_length(shards, tmp_path):
    """Adam's first moment after one step is a tenth of the gradient."""
    state = train(shards, tmp_path, steps=1, clip_norm=1e-3)
    moments = [entry["exp_avg"] for entry in state.optimizer.state_dict()["state"].values()]
    length = torch.cat([moment.flatten() for moment in moments]).norm().item()
    assert 10 * length == pytest.approx(1e-3, rel=1e-3)


def test_the_best_state_is_kept_beside_the_last(shards, tmp_path):
    state = train(shards, tmp_path, watched=(0.4, 0.2, 0.3, 0.25, 0.2))
    assert (state.best.step, state.best.score) == (10, 0.2)
    assert state.history["validation"] == [0.4, 0.2, 0.3, 0.25, 0.2]
    early = train(shards, tmp_path, steps=10, schedule="constant", watched=(0.4, 0.2))
    late = train(shards, tmp_path, steps=24, schedule="constant", watched=(0.4, 0.2, 0.3, 0.25, 0.2))
    assert same(dict(early.network.state_dict()), late.best.parameters)
    assert not same(dict(early.network.state_dict()), dict(late.network.state_dict()))


def test_narrow_products_train_alike(shards, tmp_path):
    wide, narrow = (train(shards, tmp_path, steps=60, precision=name) for name in ("float32", "bfloat16"))
    assert narrow.precision == "bfloat16"
    assert narrow.history["loss"][-1] == pytest.approx(wide.history["loss"][-1], rel=0.05)
    assert not torch.equal(narrow.network.convT.weight, wide.network.convT.weight)
    assert narrow.network.convT.weight.dtype == torch.float32


def test_precision_by_capability(monkeypatch):
    gpu = torch.device("cuda", 0)
    assert resolved("auto", CPU) == "float32"
    assert resolved("float16", CPU) == "float16"
    for capability, expected in (((7, 0), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert resolved("auto", gpu) == expected
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "V100")
    with pytest.raises(UserError, match="precision=bfloat16: V100 has none; choose float16 or auto"):
        resolved("bfloat16", gpu)


def test_tf32_is_taken_only_when_it_is_asked_for_and_only_within_the_training():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for precision, expected in (("float32", "highest"), ("tf32", "high"), ("float32", "highest")):
        with products(precision, CPU):
            assert torch.get_float32_matmul_precision() == expected
            assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_a_training_leaves_the_precision_of_the_process_alone(shards, tmp_path):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    train(shards, tmp_path, precision="bfloat16")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_where_it_cannot_be_compiled_the_network_is_used_as_it_is(monkeypatch):
    def broken(function, **options):
        def fails(*arguments):
            raise RuntimeError("no compiler")

        return fails

    monkeypatch.setattr(forward.torch, "compile", broken)
    network = Reconstructor(6, 1, 16, 2, classes=4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found, is_compiled = compiled(network, network, 8, autocast("float32", CPU), CPU)
    assert found is network
    assert not is_compiled
    assert same(before, dict(network.state_dict()))


def test_trying_to_compile_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(forward.torch, "compile", lambda function, **options: function)
    network = Reconstructor(6, 1, 16, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    _, is_compiled = compiled(network, network, 8, autocast("float32", CPU), CPU)
    assert is_compiled
    assert same(before, dict(network.state_dict()))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_diverging_loss_stops_at_once_and_keeps_the_last_good_state(shards, tmp_path):
    with pytest.raises(Failure, match=r"diverged: loss .* at step \d+; lower reconstructor.learning_rate"):
        train(shards, tmp_path, learning_rate=1e30, period=0.0)
    state = Checkpoint(tmp_path / "c", "f").load(CPU)
    assert state is None or all(tensor.isfinite().all() for tensor in state["network"].values())


def test_a_checkpoint_of_other_processes_is_refused(shards, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path, period=0.0, stop_at=1)
    path = tmp_path / "c"
    content = torch.load(path, weights_only=True)
    Checkpoint(path, "f", period=0.0).offer(lambda: content | {"processes": 2})
    with pytest.raises(UserError, match=r"was written by 2 processes, and these are 1: start as many"):
        train(shards, tmp_path)


def test_tensorboard_is_asked_for_by_name_where_it_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="`pip install tensorboard`"):
        check_tensorboard()


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path / "events")
    for step in (5, 10):
        found = scores(step / 10)
        board.show(step, {"min-MSE": step / 10}, found)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("min-MSE")] == [(5, 0.5), (10, 1.0)]
    assert [event.step for event in events.Images("watched victims")] == [5, 10]
    assert np.isfinite(events.Scalars("min-MSE")[0].wall_time)
