"""The row space of a first layer: how many directions stand above noise, how exact they are, what lies in them."""

import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure
from pipeline.kkt.networks import Victim, initialise
from pipeline.kkt.settings import Convolution, NetworkSettings, VictimSettings
from pipeline.kkt.span import first_layer_span, signal_rank
from pipeline.kkt.training import train_victim

SHAPE, UNITS = (1, 12, 20), 160


def planted(strengths, noise, units=UNITS, inputs=240):
    """Σ strength · u vᵀ + noise, and the v (k, inputs)."""
    generator = torch.Generator().manual_seed(0)
    count = len(strengths)
    left, right = (
        torch.linalg.qr(torch.randn(side, count, generator=generator).double())[0] for side in (units, inputs)
    )
    drawn = torch.randn(units, inputs, generator=generator).double()
    return left * torch.tensor(strengths).double() @ right.T + noise * drawn, right.T


def network_with(weight):
    network = Victim(NetworkSettings(hidden=(UNITS,)), SHAPE, 1).double()
    network.layers[0].weight.data.copy_(weight)
    return network


@pytest.mark.parametrize("noise", [1e-4, 3e-9])
def test_noise_and_rank_are_read_off_the_singular_values(noise):
    """Three strengths are far above noise, the fourth drowns: below (units · inputs)^¼ σ nothing shows."""
    weight, _ = planted([1.0, 0.1, 100 * noise, 5 * noise], noise)
    rank, found = signal_rank(torch.linalg.svdvals(weight), weight.shape)
    assert rank == 3
    assert found == pytest.approx(noise, rel=0.02)


def test_noise_alone_has_no_span():
    weight, _ = planted([0.0], 1e-4)
    with pytest.raises(Failure, match="the victim's first layer is noise alone"):
        first_layer_span(network_with(weight))


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        (VictimSettings(steps=60), "logistic"),
        (VictimSettings(steps=400, method="gradient_descent", weight_decay=0.05), "mse"),
    ],
)
def test_training_leaves_the_images_in_the_span(tmp_path, settings, loss):
    """Whatever the loss. What is known of the initial weights makes it exact to rounding; noise costs little."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(6, *SHAPE, generator=generator).double()
    network = Victim(NetworkSettings(hidden=(UNITS, 30)), SHAPE, 1).double()
    initialise(network, generator)
    initial = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    labels = torch.arange(6) % 2
    terms = {"checkpoint": Checkpoint(tmp_path / "c", "f", 1e9), "progress": lambda *_: None}
    train_victim(network, images, labels, settings, loss, **terms)

    def share_outside(span):
        flat = images.flatten(1)
        return float((flat - flat @ span.directions.T @ span.directions).norm() / flat.norm())

    assert len(first_layer_span(network)) == 6
    assert share_outside(first_layer_span(network)) < 0.1
    if not settings.weight_decay:  # which draws the initial weights nearer to zero, and W − W(0) away from the span
        assert share_outside(first_layer_span(network, initial)) < 1e-9


def test_a_convolution_spans_its_patches(victim):
    network = victim(convolutions=(Convolution(channels=5, kernel=2),))
    network.layers[0].weight.data.copy_(torch.ones(5, 2, 2, 2) * torch.arange(1.0, 6)[:, None, None, None])
    span = first_layer_span(network)
    assert span.shape == (2, 2, 2)
    assert torch.allclose(span.directions.abs(), torch.full((1, 8), 8**-0.5).double())
