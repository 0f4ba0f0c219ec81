"""Victims: their law at the start, their losses, and both ways of training."""

import math

import pytest
import torch
from torch.nn import functional

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure, UserError
from pipeline.kkt.networks import Victim, initialise, load_weights, read_weights, squared_norm
from pipeline.kkt.settings import NetworkSettings, VictimSettings
from pipeline.kkt.training import train_victim
from pipeline.kkt.victim_losses import LOG_LOSSES, errors, margins

SMALL = {"network": {"hidden": (30, 20), "init_std": 1e-2}}


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(8, 1, 3, 4, generator=generator, dtype=torch.float64) / 3, torch.arange(8) % 2


def backwards(epoch):
    """An order of eight images that differs from epoch to epoch."""
    return torch.arange(8).flip(0).roll(epoch)


def trained(data, tmp_path, loss="logistic", period=3600.0, **settings):
    """A small network trained as `settings` say, and its history."""
    chosen = VictimSettings(network=NetworkSettings(**SMALL["network"]), **settings)
    network = Victim(chosen.network, (1, 3, 4), 1).double()
    initialise(network, torch.Generator().manual_seed(0))
    checkpoint = Checkpoint(tmp_path / "c", "f", period)
    terms = {"order": backwards, "checkpoint": checkpoint, "progress": lambda *_: None}
    history = train_victim(network, *data, chosen, loss, **terms)
    return network, history


def state(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_only_the_first_layer_is_small_and_has_a_bias():
    """N(0, 1e-4²) there, U(±1/√1000) above, so that ‖W₂‖² is near 10⁶/3000 = 333."""
    network = Victim(NetworkSettings(), (1, 28, 28), 1)
    initialise(network, torch.Generator().manual_seed(0))
    first, second, last = network.layers
    assert first.weight.std().item() == pytest.approx(1e-4, rel=0.01)
    assert first.bias.std().item() == pytest.approx(1e-4, rel=0.1)
    assert second.bias is None
    assert last.bias is None
    assert second.weight.square().sum().item() == pytest.approx(1000 / 3, rel=0.01)
    assert second.weight.abs().max().item() == pytest.approx(1000**-0.5, rel=1e-3)


def test_every_layer_can_have_its_own_deviation_and_hidden_ones_a_bias():
    """As the published programs draw them: a list scales every layer's weights, and the first layer's bias alone."""
    network = Victim(NetworkSettings(hidden=(400, 300), bias="hidden", init_std=[1e-4, 0.02, None]), (1, 20, 20), 1)
    initialise(network, torch.Generator().manual_seed(0))
    first, second, last = network.layers
    assert first.weight.std().item() == pytest.approx(1e-4, rel=0.01)
    assert first.bias.std().item() == pytest.approx(1e-4, rel=0.1)
    assert second.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert second.bias.abs().max().item() == pytest.approx(400**-0.5, rel=0.02)
    assert last.weight.std().item() == pytest.approx((300 * 3) ** -0.5, rel=0.1)
    assert last.bias is None
    with pytest.raises(ValueError, match=r"init_std lists 2 numbers; this network has 3 layers"):
        NetworkSettings(init_std=[1e-4, 1e-4])


def test_networks_are_homogeneous(victim):
    """All weights twice as large: 2³ times the logits of three layers (the bias being in the first)."""
    images = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = victim((7, 5))
    before = network(images)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    assert torch.allclose(network(images), 8 * before)


def test_log_losses_are_the_logarithms_of_pytorchs():
    generator = torch.Generator().manual_seed(0)
    one, three = (4 * torch.randn(9, k, generator=generator, dtype=torch.float64) for k in (1, 3))
    labels = torch.arange(9) % 2
    signs = 2.0 * labels.double() - 1
    pairs = {
        "logistic": (one, functional.binary_cross_entropy_with_logits(one[:, 0], labels.double())),
        "cross_entropy": (three, functional.cross_entropy(three, labels)),
        "mse": (one, functional.mse_loss(one[:, 0], signs)),
        "huber": (one, functional.huber_loss(one[:, 0], signs)),
    }
    for name, (outputs, expected) in pairs.items():
        assert LOG_LOSSES[name](outputs, labels).item() == pytest.approx(expected.log().item(), abs=1e-12), name
    assert torch.equal(errors(three, labels), three.argmax(1) != labels)


def test_a_loss_that_float64_cannot_hold_still_has_a_logarithm_and_a_gradient():
    """Margins of 800 and more: the loss is e⁻⁸⁰⁰, whose logarithm's slope is −1 along the smallest margin."""
    outputs = torch.tensor([[800.0], [-900.0]], dtype=torch.float64, requires_grad=True)
    value = LOG_LOSSES["logistic"](outputs, torch.tensor([1, 0]))
    assert value.item() == pytest.approx(-800 - math.log(2))
    assert torch.autograd.grad(value, outputs)[0].flatten().tolist() == pytest.approx([-1, 0], abs=1e-40)
    logits = torch.tensor([[800.0, 0.0, -5.0]], dtype=torch.float64)
    assert margins(logits, torch.tensor([0])).item() == pytest.approx(800 - math.log1p(math.exp(-5)))
    assert LOG_LOSSES["cross_entropy"](logits, torch.tensor([0])).item() == pytest.approx(-800, abs=0.01)


def test_gradient_descent_is_pytorchs(data, tmp_path):
    """Ten steps with momentum and weight decay, against torch.optim.SGD on the loss itself."""
    terms = {"learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0.01}
    network, _ = trained(data, tmp_path, method="gradient_descent", steps=10, **terms)
    other = Victim(network.settings, (1, 3, 4), 1).double()
    initialise(other, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(other.parameters(), terms["learning_rate"], 0.9, weight_decay=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(other(data[0])[:, 0], data[1].double()).backward()
        optimizer.step()
    assert torch.allclose(state(network), state(other), rtol=0, atol=1e-12)


def test_mini_batches_are_pytorchs(data, tmp_path):
    """Two epochs of batches of 3, 3 and 2 images, against torch.optim.SGD; history is of all eight."""
    network, history = trained(data, tmp_path, method="gradient_descent", learning_rate=0.3, steps=6, batch_size=3)
    other = Victim(network.settings, (1, 3, 4), 1).double()
    initialise(other, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(other.parameters(), 0.3)

    def loss(places):
        return functional.binary_cross_entropy_with_logits(other(data[0][places])[:, 0], data[1][places].double())

    expected = [loss(slice(None)).log().item()]
    for epoch in range(2):
        for places in backwards(epoch).split(3):
            optimizer.zero_grad()
            loss(places).backward()
            optimizer.step()
            expected.append(loss(slice(None)).log().item())
    assert torch.allclose(state(network), state(other), rtol=0, atol=1e-12)
    assert history.log_loss == pytest.approx(expected, abs=1e-12)


def test_snapshots_are_the_network_on_its_way(data, tmp_path):
    plain = {"method": "gradient_descent", "learning_rate": 0.3}
    _, history = trained(data, tmp_path / "a", steps=50, snapshot_every=20, **plain)
    assert list(history.snapshots) == [0, 20, 40]
    shorter, _ = trained(data, tmp_path / "b", steps=40, **plain)
    assert all(torch.equal(history.snapshots[40][name], one) for name, one in shorter.state_dict().items())


def test_the_flow_passes_where_plain_descent_passes(data, tmp_path):
    """At flow time 200 both have the same loss and weights: after 20,000 steps of plain descent, 687 of the flow."""
    flow, quick = trained(data, tmp_path, flow_time=200.0)
    plain, slow = trained(data, tmp_path, method="gradient_descent", learning_rate=0.01, steps=20_000)
    assert slow.flow_time[-1] == pytest.approx(200)
    assert quick.flow_time[-1] == pytest.approx(200, rel=0.02)
    assert quick.step[-1] < 800
    assert quick.log_loss[-1] == pytest.approx(slow.log_loss[-1], abs=0.02)
    assert functional.cosine_similarity(state(flow), state(plain), dim=0) > 0.9999


def test_training_ends_at_the_loss_asked_for(data, tmp_path):
    network, history = trained(data, tmp_path, stop_loss=1e-30, flow_time=1e40)
    assert history.log_loss[-1] < math.log(1e-30)
    assert history.log_loss[-1] > math.log(1e-30) - 0.1
    assert history.squared_norm[-1] == pytest.approx(state(network).square().sum().item())


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"method": "gradient_descent", "learning_rate": 0.3, "momentum": 0.9},
        {"method": "gradient_descent", "learning_rate": 0.3, "batch_size": 3},
    ],
    ids=["flow", "gradient_descent", "mini-batches"],
)
def test_killed_and_resumed_to_the_same_bits(data, tmp_path, killed_at, method):
    whole, history = trained(data, tmp_path / "whole", steps=50, **method)
    with killed_at("step", 23):
        trained(data, tmp_path, period=0.0, steps=50, **method)
    resumed, again = trained(data, tmp_path, steps=50, **method)
    assert torch.equal(state(resumed), state(whole))
    assert again == history


def test_divergence_is_one_line(data, tmp_path):
    with pytest.raises(Failure, match=r"diverged: log-loss .* at step \d+; lower kkt.victim.learning_rate"):
        trained(data, tmp_path, "mse", method="gradient_descent", learning_rate=1e300, steps=50)


def test_weights_of_another_architecture_are_named(victim, tmp_path):
    network, other = victim((7, 5)), victim((7, 6))
    with pytest.raises(UserError, match=r"layers.1.weight is \(6, 7\), the victim .* has \(5, 7\)"):
        load_weights(network, other.state_dict(), "a.pth")
    with pytest.raises(UserError, match=r"layers.2.weight is missing"):
        load_weights(
            network, {"layers.0.weight": network.layers[0].weight} | dict(list(network.state_dict().items())[:3]), "a"
        )
    broken = network.state_dict()
    broken["layers.1.weight"] = torch.full_like(broken["layers.1.weight"], torch.nan)
    torch.save(broken, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a.pth: 35 of 35 numbers of layers.1.weight are not finite"):
        read_weights(network, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"b.pth: holds objects beside tensors, .* or is damaged"):
        read_weights(network, tmp_path / "b.pth")
    torch.save({"epoch": 3, "victim": network.state_dict()}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"c.pth: epoch is of type int; expected names with tensors"):
        read_weights(network, tmp_path / "c.pth")
    torch.save(other.state_dict(), tmp_path / "d.pth")
    twin = victim((7, 6))
    initialise(twin, torch.Generator().manual_seed(9))
    read_weights(twin, tmp_path / "d.pth")
    assert squared_norm(twin) == squared_norm(other)
