"""The oracle against per-sample gradients by autograd, optimality conditions, and the attack's own loss."""

import pytest
import torch

from pipeline.kkt.activations import with_surrogate_slope
from pipeline.kkt.analysis.oracle import directions, least_distance, oracle_loss, tangent_kernel
from pipeline.kkt.multipliers import coefficients
from pipeline.kkt.networks import Victim, squared_norm
from pipeline.kkt.stationarity import by_autograd

SHARPNESS = 20.0


CONVOLUTIONS = ({"channels": 3, "stride": 2, "padding": 1}, {"channels": 4, "kernel": 2})
CASES = [
    ("binary", {}),
    ("binary", {"hidden": (8, 6, 5)}),
    ("binary", {"hidden": (6,), "convolutions": CONVOLUTIONS}),
    ("general", {}),
    ("runner_up", {"outputs": 4}),
    ("full", {"outputs": 4}),
    ("full", {"outputs": 3, "hidden": (), "convolutions": CONVOLUTIONS}),
]


def learnt(network: Victim) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 2, 5, 5, generator=generator, dtype=torch.float64)
    outputs = len(network.layers[-1].weight)
    return images, torch.arange(6) % max(2, outputs)


@pytest.mark.parametrize(("loss", "asked"), CASES)
def test_the_kernel_is_the_gram_of_per_sample_gradients(loss, asked, victim):
    network = victim(shape=(2, 5, 5), **asked)
    images, labels = learnt(network)
    chosen = directions(loss, network(images).detach(), labels)
    kernel, product = tangent_kernel(network, images, SHARPNESS, chosen)
    activation = with_surrogate_slope("relu", torch.tensor(SHARPNESS, dtype=torch.float64))
    rows = []
    for combination in chosen:
        for image, weights in zip(images, combination, strict=True):
            value = (network(image[None], activation)[0] * weights).sum()
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(network.parameters()))]))
    jacobian = torch.stack(rows)
    theta = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert torch.allclose(kernel, jacobian @ jacobian.T, rtol=1e-10, atol=1e-12)
    assert torch.allclose(product, jacobian @ theta, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("loss", "asked"), CASES)
def test_no_multipliers_do_better_than_the_oracles(loss, asked, victim):
    """The minimum's conditions: no slope where c > 0 (or anywhere, of free sign), none downwards where c = 0."""
    network = victim(shape=(2, 5, 5), **asked)
    images, labels = learnt(network)
    kernel, product = tangent_kernel(network, images, SHARPNESS, directions(loss, network(images).detach(), labels))
    distance, found = least_distance(kernel, product, squared_norm(network), loss != "general")
    slope = kernel @ found - product
    scale = product.abs().max()
    assert float((slope[found > 0]).abs().max()) < 1e-8 * scale
    if loss == "general":
        assert float(slope.abs().max()) < 1e-8 * scale
    else:
        assert float(found.min()) >= 0
        assert float(slope.min()) > -1e-8 * scale
    direct = squared_norm(network) - 2 * float(found @ product) + float(found @ kernel @ found)
    assert distance == pytest.approx(direct, rel=1e-10)


@pytest.mark.parametrize(("loss", "asked"), [case for case in CASES if case[0] != "full"])
def test_the_attacks_own_loss_at_the_true_data_with_these_multipliers_is_the_oracles(loss, asked, victim):
    network = victim(shape=(2, 5, 5), **asked)
    images, labels = learnt(network)
    kernel, product = tangent_kernel(network, images, SHARPNESS, directions(loss, network(images).detach(), labels))
    _, found = least_distance(kernel, product, squared_norm(network), loss != "general")
    weigh = coefficients(loss, len(images) * found[None], labels)
    attack = by_autograd(network)(images[None], torch.tensor([SHARPNESS], dtype=torch.float64), weigh)
    assert oracle_loss(network, images, labels, loss, SHARPNESS) == pytest.approx(float(attack.distance), rel=1e-10)


def test_a_multiplier_for_every_other_class_does_no_worse_than_one_for_the_runner_up(victim):
    network = victim(shape=(2, 5, 5), outputs=4)
    images, labels = learnt(network)
    full, runner_up = (oracle_loss(network, images, labels, loss, SHARPNESS) for loss in ("full", "runner_up"))
    assert full <= runner_up
