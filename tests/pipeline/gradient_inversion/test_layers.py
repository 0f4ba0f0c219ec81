"""Reading a network: what is accepted keeps its meaning, what cannot be inverted is refused by name."""

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.networks import PLANS, build
from pipeline.randomness import torch_generator


class WithFunctions(nn.Module):
    """As the DLG authors write a network: functions, and a view in place of a flatten."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sigmoid())
        self.fc = nn.Linear(4 * 6 * 6, 5)

    def forward(self, x):
        x = torch.relu(self.body(x))
        return self.fc(x.view(x.size(0), -1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3 * 6 * 6, 5)

    def forward(self, x):
        return self.fc(torch.flatten(x + self.conv(x), 1))


def chain(*layers, size=6):
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    return nn.Sequential(convolution, *layers, nn.Flatten(), nn.LazyLinear(5))


def test_parameter_counts_are_the_published_ones():
    """768·K + K in the head of LeNet, 192·10 + 10 in LeNet_A's, 3200 in CNN6's, which has no bias."""
    heads = {"lenet": 7690, "lenet_a": 1930, "lenet_o": 1930, "o_cnn6": 1930, "dlg_lenet": 7690, "rgap_cnn6": 3200}
    for name, size in heads.items():
        network = build(name, (3, 32, 32), 10, torch_generator(0))
        assert sum(p.numel() for p in network[-1].parameters()) == size


@pytest.mark.parametrize("name", PLANS)
def test_uniform_parameters_fill_their_interval(name):
    values = torch.cat([p.detach().flatten() for p in build(name, (3, 32, 32), 10, torch_generator(0)).parameters()])
    assert values.abs().max() <= 0.5
    assert values.std() == pytest.approx(1 / 12**0.5, rel=0.03)


def test_functions_and_views_are_read():
    module = WithFunctions()
    with pytest.raises(UserError, match="an activation must follow"):
        read_network(module, (3, 6, 6))
    module.body = module.body[0]
    read = read_network(module, (3, 6, 6))
    assert [layer.name for layer in (*read.convolutions, *read.head)] == ["body", "fc"]


def test_rows_are_the_forward_map_with_pooling_folded_in():
    """Average pooling right behind a convolution is one wider convolution; and its adjoint is its transpose."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 0)), nn.AvgPool2d(2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(4)
    ).double()
    x = torch.rand(5, 2, 11, 9, dtype=torch.float64)
    module(x)
    layer = read_network(module, (2, 11, 9)).convolutions[0]
    expected = module[1](module[0](x)) - module[0].bias.view(-1, 1, 1)
    assert torch.allclose(layer.rows(x[None])[0], expected, atol=1e-14)
    y = torch.rand_like(expected)
    assert torch.allclose((layer.rows(x[None])[0] * y).sum(), (x * layer.rows_adjoint(y[None])[0]).sum())


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([nn.GELU()], "0: GELU cannot be inverted; its output does not tell its input"),
        ([nn.SiLU()], "SiLU"),
        ([nn.MaxPool2d(2)], "max pooling hides"),
        ([nn.BatchNorm2d(4)], "normalisation"),
        ([nn.ReLU(), nn.AvgPool2d(2)], "average pooling is inverted only right behind a convolution"),
        ([nn.Conv2d(4, 4, 3, dilation=2)], r"dilation \(2, 2\)"),
        ([nn.Conv2d(4, 4, 3, groups=2)], "groups 2"),
        ([nn.Softplus()], "valid: Conv2d"),
        ([nn.LeakyReLU(-0.5)], "LeakyReLU cannot be inverted"),
    ],
)
def test_what_cannot_be_inverted_is_refused_by_name(layers, words):
    with pytest.raises(UserError, match=words.replace("0: ", "")):
        read_network(nn.Sequential(nn.Conv2d(3, 4, 3), *layers, nn.Flatten(), nn.Linear(4, 5)), (3, 9, 9))


def test_a_branch_is_refused():
    with pytest.raises(UserError, match="branches"):
        read_network(Residual(), (3, 6, 6))


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="does not fit images of shape"):
        read_network(build("lenet", (3, 32, 32), 10, torch_generator(0)), (1, 32, 32))
