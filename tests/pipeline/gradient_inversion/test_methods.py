"""Every method on the same gradients, judged alike."""

import pytest
import torch
from torch import nn

from pipeline.evaluation.image_metrics import mean_squared_error
from pipeline.gradient_inversion.labels import infer_labels
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.methods import METHODS
from pipeline.gradient_inversion.step import gradients_of_steps
from pipeline.randomness import torch_generator


def invert(name, network, gradient, seed="dummy", **settings):
    method = METHODS[name]
    return method.run(network, gradient, 1, method.settings(**settings), torch_generator(seed))


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
    ("name", "iterations", "limit"), [("dlg", 15, 1e-6), ("idlg", 15, 1e-6), ("inverting_gradients", 200, 0.05)]
)
def test_optimisation_comes_near_and_is_not_called_exact(name, iterations, limit, small):
    """A grey image is at 0.08, dummies begin at 1.3; none reaches the certificate of float64."""
    network, gradient, images = small
    found = invert(name, network, gradient, iterations=iterations)
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
    theirs, ours = (invert(name, network, gradient) for name in ("r_gap", "r_conv"))
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
        return invert(name, network, gradient, **{"iterations": 5} | settings).estimate

    assert torch.equal(estimate(), estimate())
    assert not torch.equal(estimate(**change), estimate())
