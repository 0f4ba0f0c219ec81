"""Single images: exact, certified, or refused."""

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.evaluation.image_metrics import mean_squared_error
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.networks import PLANS, build
from pipeline.gradient_inversion.step import Exposure, gradients_of_steps
from pipeline.randomness import torch_generator


@pytest.mark.parametrize("name", [name for name in PLANS if name != "rgap_cnn6"])
def test_every_network_gives_its_images_back_or_counts_why_not(name, synthetic, exposed):
    """With 3 filters before the head, two dead ones leave a third of the equations: the count then says no."""
    images, labels = synthetic(3)
    network, gradient = exposed(name, images, labels)
    found = attack(network, gradient)
    assert found.success.any()
    assert all("unknowns are left by the gradient" in refusal for refusal in found.refusals if refusal)
    assert mean_squared_error(found.images[:, 0], images)[found.success].max() < 1e-18
    assert torch.equal(found.labels[found.success, 0], labels[found.success])


@pytest.mark.data
@pytest.mark.parametrize("name", ["lenet", "lenet_a"])
def test_cifar10_images_are_exact(name, cifar10, exposed):
    images, labels = cifar10
    network, gradient = exposed(name, images, labels)
    found = attack(network, gradient)
    assert found.success.all()
    assert mean_squared_error(found.images[:, 0], images).max() < 1e-20


@pytest.mark.parametrize("activation", ["leaky_relu", "sigmoid", "tanh", "elu"])
def test_every_activation(activation, synthetic, exposed):
    images, labels = synthetic(2)
    network, gradient = exposed("lenet_a", images, labels, activation=activation)
    found = attack(network, gradient)
    assert found.success.all()
    assert mean_squared_error(found.images[:, 0], images).max() < 1e-18


def test_a_narrow_relu_first_layer_needs_weight_rows_beside_gradient_rows(synthetic, exposed):
    """24 filters give 216, 144, 144 and 96 equations for 256 pixels each; live units make up for the rest."""
    images, labels = synthetic(1)
    network, gradient = exposed("lenet_all_relu", images, labels, filters=(24, 22, 3, 3))
    found = attack(network, gradient)
    assert found.reports[0].layers[-1].method == "both"
    assert found.reports[0].layers[-1].gradient_rank <= 3 * (216 + 144 + 144 + 96)
    assert mean_squared_error(found.images[:, 0], images).max() < 1e-18


class TestBiasFree:
    """R-GAP's case: no biases, one logit."""

    def test_exact_and_within_float32(self, synthetic, exposed):
        images, labels = synthetic(2, classes=2)
        network, gradient = exposed("rgap_cnn6", images, labels, init="default")
        found = attack(network, gradient, pixel_range=(0, 1))
        assert found.success.all()
        assert mean_squared_error(found.images[:, 0], images).max() < 1e-20
        rounded = attack(network, Exposure(torch.float32).apply(gradient, torch_generator(0)), pixel_range=(0, 1))
        assert rounded.success.all()
        assert mean_squared_error(rounded.images[:, 0], images).max() < 1e-8

    def test_a_darker_copy_explains_the_gradient_of_a_rightly_classified_image(self, synthetic, exposed):
        """u/(1 + eᵘ) takes each value twice for u > 0: x and αx have one gradient, by homogeneity."""
        images, labels = synthetic(8, classes=2)
        network, gradient = exposed("rgap_cnn6", images, labels, init="default")
        logits = network.module(images)[:, 0] * (2 * labels - 1)
        n = int(logits.argmax())
        assert logits[n] > 0
        only = {name: part[n : n + 1] for name, part in gradient.items()}
        assert "2 different images explain the gradient" in attack(network, only).refusals[0]

    @pytest.mark.parametrize("logit", [13.0, 25.0])
    def test_a_rightly_classified_image_is_exact_or_told_to_be_saturated(self, logit, synthetic, exposed):
        """∂ℓ/∂logit = 2e-6 comes with ten digits, 1e-11 with five; tanh units magnify what is lost."""
        images, labels = synthetic(1, (1, 32, 32))
        network, _ = exposed("rgap_cnn6", images, labels, activation="tanh")
        head = network.module[-1]
        with torch.no_grad():
            head.weight.mul_(logit / network.module(images))
        network = read_network(network.module, (1, 32, 32))
        gradient = gradients_of_steps(network.module, images[:, None], torch.ones(1, 1, dtype=torch.long))
        found = attack(network, gradient, pixel_range=(0, 1))
        if logit > 20:
            assert "saturated" in found.refusals[0]
        else:
            assert found.refusals == (None,)
            assert mean_squared_error(found.images[:, 0], images).max() < 1e-20

    def test_many_logits_without_bias(self, synthetic):
        images, labels = synthetic(2, (3, 12, 12))
        module = nn.Sequential(
            nn.Conv2d(3, 14, 3, 2, 1, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(14 * 36, 10, bias=False)
        ).double()
        gradient = gradients_of_steps(module, images[:, None], labels[:, None])
        found = attack(read_network(module, (3, 12, 12)), gradient, pixel_range=(0, 1))
        assert found.success.all()
        assert mean_squared_error(found.images[:, 0], images).max() < 1e-18


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(2, 16, (3, 4), (2, 1), (1, 2)), nn.ELU(0.7), nn.Flatten(), nn.LazyLinear(6)),
        nn.Sequential(nn.Conv2d(2, 16, 4, padding=2), nn.AvgPool2d(2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(6)),
        nn.Sequential(nn.Conv2d(2, 9, 3, padding="same"), nn.Flatten(), nn.LazyLinear(20), nn.ReLU(), nn.LazyLinear(6)),
        nn.Sequential(nn.Conv2d(2, 12, 2, 2), nn.LeakyReLU(1.5), nn.Conv2d(12, 30, 3), nn.ReLU(), nn.Flatten(),
                      nn.LazyLinear(6)),
    ],
    ids=["rectangular", "pooled", "two linear layers", "even kernel"],
)  # fmt: skip
def test_geometries(module, synthetic):
    shape = (2, 14, 10)
    images, labels = synthetic(2, shape, classes=6)
    module = module.double()
    module(images)
    gradient = gradients_of_steps(module, images[:, None], labels[:, None])
    found = attack(read_network(module, shape), gradient)
    assert found.refusals == (None, None)
    assert mean_squared_error(found.images[:, 0], images).max() < 1e-18


def test_pooling_without_padding_hides_a_checkerboard(synthetic):
    """Behind 2×2 averages only sums of neighbours are seen; an alternating pattern is lost, though equations abound."""
    images, labels = synthetic(1, (1, 8, 8))
    module = nn.Sequential(nn.Conv2d(1, 40, 3), nn.AvgPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(360, 10)).double()
    found = attack(read_network(module, (1, 8, 8)), gradients_of_steps(module, images[:, None], labels[:, None]))
    report = found.reports[0].layers[0]
    assert report.enough
    assert not found.success[0]
    assert "condition" in found.refusals[0]


class TestRefusals:
    """Never a picture of noise called a result."""

    @pytest.fixture
    def one(self, synthetic, exposed):
        images, labels = synthetic(3)
        return exposed("lenet_a", images, labels)

    def test_zero_gradient(self, one):
        network, gradient = one
        found = attack(network, {name: torch.zeros_like(part) for name, part in gradient.items()})
        assert all("the gradient is zero" in refusal for refusal in found.refusals)
        assert found.images.isnan().all()

    def test_nan_in_one_gradient_leaves_the_others(self, one):
        network, gradient = one
        gradient["9.weight" if "9.weight" in gradient else "8.weight"][1, 0, 0] = torch.nan
        gradient["0.weight"][2, 0, 0, 0, 0] = torch.nan
        found = attack(network, gradient)
        assert found.success.tolist() == [True, False, False]

    def test_gradients_of_another_network(self, one, synthetic, exposed):
        network, _ = one
        _, foreign = exposed("lenet_a", *synthetic(3), seed=1)
        assert not attack(network, foreign).success.any()

    def test_wrong_shapes_and_names(self, one):
        network, gradient = one
        with pytest.raises(UserError, match=r"gradient of 0.weight has shape \(3, 12, 3, 5, 4\)"):
            attack(network, gradient | {"0.weight": gradient["0.weight"][..., :4]})
        with pytest.raises(UserError, match=r"missing \['0.weight'\]"):
            attack(network, {name: part for name, part in gradient.items() if name != "0.weight"})

    def test_dead_filters(self, synthetic):
        """A ReLU layer whose filters are all dead lets nothing through; the report names it."""
        images, labels = synthetic(1)
        module = build("lenet", (3, 32, 32), 10, torch_generator(0))
        with torch.no_grad():
            module[4].bias -= 1e4
        gradient = gradients_of_steps(module, images[:, None], labels[:, None])
        found = attack(read_network(module, (3, 32, 32)), gradient)
        assert found.refusals[0].startswith("4: not recoverable")

    def test_saturated_softmax(self, synthetic):
        """A margin of more than 745 leaves no derivative in float64."""
        images, _ = synthetic(1)
        module = build("lenet", (3, 32, 32), 10, torch_generator(0))
        with torch.no_grad():
            module[-1].bias[3] += 1e5
        gradient = gradients_of_steps(module, images[:, None], torch.tensor([[3]]))
        assert "saturated softmax" in attack(read_network(module, (3, 32, 32)), gradient).refusals[0]

    def test_too_few_filters(self, synthetic, exposed):
        """2 filters of stride 2 leave 512 weight rows and 150 gradient equations for 3072 unknowns."""
        images, labels = synthetic(1)
        network, gradient = exposed("lenet", images, labels, filters=(2, 16, 12, 12))
        found = attack(network, gradient)
        assert found.refusals[0].startswith("0: not recoverable")
        assert "weight rows" in found.refusals[0]


def test_a_square_first_layer_at_higher_resolution(synthetic):
    """12 filters of stride 2 on 48×48: as many rows as pixels, of ruinous condition; the gradient settles the rest."""
    images, labels = synthetic(1, (3, 48, 48))
    module = build("lenet", (3, 48, 48), 10, torch_generator(0), filters=(12, 44, 12, 12))
    network = read_network(module, (3, 48, 48))
    found = attack(network, gradients_of_steps(module, images[:, None], labels[:, None]))
    assert found.reports[0].layers[-1].method == "weights"
    assert found.refusals == (None,)
    assert mean_squared_error(found.images[:, 0], images).max() < 1e-18
