"""Victims: homogeneous networks of convolutions and fully connected layers, rebuilt from settings and a state dict."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.kkt.activations import ACTIVATIONS
from pipeline.kkt.settings import NetworkSettings, VictimSettings
from pipeline.weight_files import read_state


class Victim(nn.Module):
    """(n, C, H, W), the training mean taken off → logits (n, outputs). The last layer has no bias."""

    def __init__(self, settings: NetworkSettings, shape: Sequence[int], outputs: int):
        super().__init__()
        self.settings = settings
        self.shape = tuple(shape)
        layers: list[nn.Module] = []
        shapes = settings.convolved(shape)
        for one, (channels, *_) in zip(settings.convolutions, shapes, strict=False):
            bias = not layers or settings.bias == "hidden"
            layers.append(nn.Conv2d(channels, one.channels, one.kernel, one.stride, one.padding, bias=bias))
        inputs = math.prod(shapes[-1])
        for units in settings.hidden:
            layers.append(nn.Linear(inputs, units, bias=not layers or settings.bias == "hidden"))
            inputs = units
        layers.append(nn.Linear(inputs, outputs, bias=False))
        self.layers = nn.ModuleList(layers)

    def forward(self, images: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """`activation`: instead of the network's own, for an attack that takes another slope for it."""
        activation = activation or ACTIVATIONS[self.settings.activation].value
        values = images
        for position, layer in enumerate(self.layers):
            if isinstance(layer, nn.Linear) and values.ndim > 2:
                values = values.flatten(1)
            values = layer(activation(values) if position else values)
        return values


@torch.no_grad()
def initialise(network: Victim, generator: torch.Generator) -> None:
    """Draws every weight, in float64: see NetworkSettings.init_std (arXiv 2206.07758, appendix)."""
    for position, layer in enumerate(network.layers):
        bound, std = 1 / math.sqrt(layer.weight[0].numel()), network.settings.deviation(position)
        for name, parameter in layer.named_parameters():
            if std is not None and (name == "weight" or position == 0):
                drawn = std * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            else:
                drawn = bound * (2 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 1)
            parameter.copy_(drawn)


def untrained_victim(
    settings: VictimSettings, shape: Sequence[int], outputs: int, generator: torch.Generator
) -> Victim:
    """A freshly drawn network for images of `shape` (C, H, W), in the dtype of the settings."""
    network = Victim(settings.network, shape, outputs).to(getattr(torch, settings.dtype))
    initialise(network, generator)
    return network


def victim_from_state(settings: VictimSettings, shape: Sequence[int], state: Mapping[str, Tensor]) -> Victim:
    """The network whose state a kkt_victim shard holds; the last layer says how many logits it has."""
    outputs = len(list(state.values())[-1])
    network = Victim(settings.network, shape, outputs).to(getattr(torch, settings.dtype))
    load_weights(network, state, "the victim's shard")
    return network


def read_weights(network: Victim, path: Path) -> None:
    """Fills the network from a file: a state dict, or one beside other things as the published {epoch, batch,
    state_dict}. Raises UserError when it is something else."""
    source = f"kkt.victim.weights: {path}"
    load_weights(network, read_state(path, source), source)


def load_weights(network: Victim, state: Mapping[str, Tensor], source: str) -> None:
    """Fills the network from a state dict of `source`; raises UserError when it belongs to another architecture."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        name = differing[0]
        raise UserError(
            f"{source} is of another architecture: {name} is {found.get(name, 'missing')}, the victim that "
            f"kkt.victim.network describes has {expected.get(name, 'none of that name')}"
        )
    network.load_state_dict({name: tensor.to(network.layers[0].weight.dtype) for name, tensor in state.items()})


def squared_norm(network: nn.Module) -> float:
    """‖θ‖², in float64."""
    return sum(float(parameter.detach().double().square().sum()) for parameter in network.parameters())
