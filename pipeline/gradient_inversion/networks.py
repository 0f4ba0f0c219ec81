"""The eight networks of the R-CONV study: convolutions with activations, then one fully connected layer; and one
without convolutions, `fully_connected`. Hidden fully connected layers can be put before the logits of each.

Sources: R-CONV (arXiv 2406.04227) for the LeNet family, DLG (arXiv 1906.08935) for `dlg_lenet`,
R-GAP (arXiv 2010.07733) for `rgap_cnn6`.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.gradient_inversion.step import training_loss

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
}


@dataclass(frozen=True)
class ConvolutionPlan:
    """One convolution and its activation; `activation=None` is the one chosen for the network."""

    filters: int
    stride: int = 1
    activation: str | None = None
    kernel: int = 5
    padding: int = 2


@dataclass(frozen=True)
class NetworkPlan:
    convolutions: tuple[ConvolutionPlan, ...]
    activation: str
    bias: bool = True
    logits: int | None = None
    hidden: tuple[int, ...] = ()


def _lenet(*filters: int, leaky: int, activation: str = "relu") -> NetworkPlan:
    """Kernel 5, padding 2, stride 2 in two layers; the first `leaky` layers are LeakyReLU whatever is chosen."""
    return NetworkPlan(
        tuple(
            ConvolutionPlan(count, stride=2 if depth < 2 else 1, activation="leaky_relu" if depth < leaky else None)
            for depth, count in enumerate(filters)
        ),
        activation,
    )


PLANS = {
    "lenet": _lenet(12, 16, 12, 12, leaky=2),
    "lenet_a": _lenet(12, 16, 12, 3, leaky=2),
    "lenet_o": _lenet(12, 16, 3, 3, leaky=2),
    "o_cnn6": _lenet(12, 16, 3, 3, 3, 3, leaky=2),
    "lenet_4_relu": _lenet(12, 22, 3, 3, leaky=1),
    "lenet_all_relu": _lenet(77, 22, 3, 3, leaky=0),
    "dlg_lenet": _lenet(12, 12, 12, leaky=0, activation="sigmoid"),
    "rgap_cnn6": NetworkPlan(
        (
            ConvolutionPlan(12, stride=2, kernel=4, padding=2),
            ConvolutionPlan(36, stride=2, kernel=3, padding=1),
            ConvolutionPlan(36, kernel=3, padding=1),
            ConvolutionPlan(36, kernel=3, padding=1),
            ConvolutionPlan(64, stride=2, kernel=3, padding=1),
            ConvolutionPlan(128, kernel=3, padding=1),
        ),
        activation="leaky_relu",
        bias=False,
        logits=1,
    ),
    "fully_connected": NetworkPlan((), activation="relu", hidden=(1000,)),
}


def build(
    name: str,
    image_shape: tuple[int, int, int],
    classes: int,
    generator: torch.Generator,
    *,
    activation: str | None = None,
    init: str = "uniform",
    filters: tuple[int, ...] | None = None,
    hidden: tuple[int, ...] | None = None,
) -> nn.Sequential:
    """A network of the study in float64, for images `(C, H, W)`.

    `init` is "uniform", every parameter from U(−0.5, 0.5) as in R-CONV, or "default", PyTorch's own law;
    `filters` replaces the numbers of filters, layer by layer; `hidden` the widths of the fully connected layers before
    the logits. A plan with its own number of logits ignores `classes`.
    Raises UserError for an unknown name, or filters that do not match the network's depth.
    """
    if name not in PLANS:
        raise UserError(f"network {name!r} is not known; valid: {', '.join(PLANS)}")
    plan = PLANS[name]
    convolutions = plan.convolutions
    if filters is not None:
        if len(filters) != len(convolutions):
            raise UserError(f"{name} has {len(convolutions)} convolutions, not {len(filters)} as `filters` says")
        convolutions = tuple(replace(c, filters=count) for c, count in zip(convolutions, filters, strict=True))
    channels, height, width = image_shape
    layers: list[nn.Module] = []
    for c in convolutions:
        layers.append(nn.Conv2d(channels, c.filters, c.kernel, c.stride, c.padding, bias=plan.bias))
        layers.append(ACTIVATIONS[c.activation or activation or plan.activation]())
        channels = c.filters
        height, width = ((size + 2 * c.padding - c.kernel) // c.stride + 1 for size in (height, width))
    layers.append(nn.Flatten())
    inputs = channels * height * width
    for width in plan.hidden if hidden is None else hidden:
        layers += [nn.Linear(inputs, width, bias=plan.bias), ACTIVATIONS[activation or plan.activation]()]
        inputs = width
    layers.append(nn.Linear(inputs, plan.logits or classes, bias=plan.bias))
    network = nn.Sequential(*layers).double()
    initialise(network, init, generator)
    return network


@torch.no_grad()
def initialise(network: nn.Module, init: str, generator: torch.Generator) -> None:
    """Draws every weight and bias: from U(−0.5, 0.5), or from U(−1/√fan_in, 1/√fan_in) as PyTorch's default does."""
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        bound = 0.5 if init == "uniform" else layer.weight[0].numel() ** -0.5
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)


def train(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int, generator: torch.Generator
) -> None:
    """Brief training: `steps` steps of Adam (rate 1e-3, batch 64) on images `(M, C, H, W)`, labels `(M,)`, in place."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad()
        training_loss(network(images[batch]), labels[batch]).backward()
        optimizer.step()
