"""The attacks of others, on the same gradients and judged alike."""

import pytest
import torch
from torch import nn

from pipeline.evaluation.image_metrics import mean_squared_error
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.labels import infer_labels
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.peers import PEERS, RGAP, peer
from pipeline.gradient_inversion.settings import ATTACKS, Peers
from pipeline.gradient_inversion.step import gradients_of_steps
from pipeline.randomness import torch_generator

SHORT = Peers.model_validate(
    {"dlg": {"iterations": 15}, "idlg": {"iterations": 15}, "inverting_gradients": {"iterations": 200}}
)


@pytest.fixture
def small(synthetic, exposed):
    images, labels = synthetic(1, (1, 16, 16))
    network, gradient = exposed("dlg_lenet", images, labels)
    return network, gradient, images


def test_labels_are_read_off_the_sign(synthetic, exposed):
    images, labels = synthetic(10)
    network, gradient = exposed("dlg_lenet", images, labels, init="default")
    assert torch.equal(infer_labels(network, gradient), labels)


@pytest.mark.parametrize(
    ("attack_of_others", "limit"),
    [(peer("dlg", SHORT), 1e-6), (peer("idlg", SHORT), 1e-6), (peer("inverting_gradients", SHORT), 0.05)],
)
def test_optimisation_comes_near_and_is_not_called_exact(attack_of_others, limit, small):
    """A grey image is at 0.08, dummies begin at 1.3; none reaches the certificate of float64."""
    network, gradient, images = small
    found = attack_of_others.run(network, gradient, torch_generator("dummy"))
    assert mean_squared_error(found.estimate[:, 0], images)[0] < limit
    assert found.reports is None
    assert "certificate" in found.refusals[0]
    assert found.images.isnan().all()


def test_r_gap_and_our_own_way_agree(synthetic):
    images, _ = synthetic(2, (1, 8, 8))
    labels = torch.tensor([0, 1])
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(6, 8, 3, 1, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(128, 1, bias=False),
    ).double()  # fmt: skip
    gradient = gradients_of_steps(module, images[:, None], labels[:, None])
    network = read_network(module, (1, 8, 8))
    theirs, ours = RGAP().run(network, gradient, torch_generator(0)), attack(network, gradient, pixel_range=(0, 1))
    assert theirs.success.all()
    assert ours.success.all()
    for found in (theirs, ours):
        assert mean_squared_error(found.images[:, 0], images).max() < 1e-18


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dlg", {"iterations": 1}),
        ("idlg", {"rate": 0.5}),
        ("inverting_gradients", {"rate": 0.05}),
        ("inverting_gradients", {"total_variation": 0.5}),
    ],
)
def test_iterations_rates_and_weights_are_settings(name, change, small):
    """Five steps of the same dummies, with the setting and without: other images."""
    network, gradient, _ = small

    def estimate(**settings):
        asked = Peers.model_validate({name: {"iterations": 5} | settings})
        return peer(name, asked).run(network, gradient, torch_generator("dummy")).estimate

    assert torch.equal(estimate(), estimate())
    assert not torch.equal(estimate(**change), estimate())


def test_every_attack_of_the_settings_is_to_be_had():
    assert {"r_conv", *PEERS} == set(ATTACKS)
