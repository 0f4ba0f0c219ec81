"""Does the report tell the truth? Small random networks, against dense ranks found without any of its machinery.

RECON_RANDOM_NETWORKS sets how many (24 unless given; the claim of the project is for 200).
"""

import os

import torch
from torch import Tensor, nn

from pipeline.evaluation.image_metrics import mean_squared_error
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.step import gradients_of_steps, training_loss
from pipeline.randomness import numpy_generator, torch_generator

COUNT = int(os.environ.get("RECON_RANDOM_NETWORKS", "24"))


def random_network(seed: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """1 to 5 convolutions of random geometry on an image of 6 to 12 pixels a side; with the image and its label."""
    rng = numpy_generator("random network", seed)
    channels, height, width = (int(rng.integers(low, high)) for low, high in ((1, 4), (6, 13), (6, 13)))
    image = torch.from_numpy(rng.random((1, channels, height, width)))
    layers: list[nn.Module] = []
    for _ in range(rng.integers(1, 6)):
        kernel = tuple(int(size) for size in rng.integers(1, 6, 2))
        padding = tuple(int(rng.integers(0, size // 2 + 1)) for size in kernel)
        stride = tuple(int(step) for step in rng.choice([1, 1, 2], 2))
        filters = int(rng.integers(2, 25))
        shape = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip((height, width), padding, kernel, stride, strict=True)]
        if min(shape) < 1:
            break
        layers.append(nn.Conv2d(channels, filters, kernel, stride, padding, bias=bool(rng.random() < 0.8)))
        if min(shape) > 3 and rng.random() < 0.15:
            layers.append(nn.AvgPool2d(2))
            shape = [size // 2 for size in shape]
        layers.append(
            (nn.ReLU(), nn.LeakyReLU(float(rng.uniform(0.05, 1.5))), nn.Sigmoid(), nn.Tanh(), nn.ELU())[rng.integers(5)]
        )
        channels, height, width = filters, *shape
    if not layers:
        return random_network(seed + 10**6)
    classes = int(rng.integers(2, 11))
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes)).double()
    generator = torch_generator("random network", seed)
    with torch.no_grad():
        for parameter in network.parameters():
            bound = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
            parameter.uniform_(-bound, bound, generator=generator)
    return network, image, torch.tensor([int(rng.integers(classes))])


def read_by(layers: nn.Sequential, values: Tensor) -> Tensor:
    """Mask of the values (1, C, H, W) on which anything later depends, by the geometry of the layers alone."""
    values = mask = torch.zeros_like(values).requires_grad_()
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            mask = nn.functional.conv2d(mask, torch.ones_like(layer.weight), None, layer.stride, layer.padding)
        elif isinstance(layer, nn.AvgPool2d):
            mask = layer(mask)
    return torch.autograd.grad(mask.sum(), values)[0][0] > 0


def determined(network: nn.Sequential, image: Tensor, label: Tensor, position: int) -> bool:
    """Whether the input of the convolution at `position` is fixed by its weight gradient and its known outputs.

    The dense matrix of both, from the true gradient at the true input, has full numerical rank. Hidden values that the
    next convolution passes over are neither known nor needed.
    """
    values = [image]
    for layer in network:
        values.append(layer(values[-1]))
        values[-1].retain_grad()
    training_loss(values[-1], label).backward()
    x, g = values[position].detach(), values[position + 1].grad
    convolution = network[position]
    pooled = isinstance(network[position + 1], nn.AvgPool2d)
    activation, output = network[position + 1 + pooled], values[position + 2 + pooled].detach()
    basis = torch.eye(x.numel(), dtype=torch.float64).view(-1, *x.shape[1:])
    rows = nn.functional.conv2d(basis, convolution.weight, None, convolution.stride, convolution.padding)
    rows = network[position + 1](rows) if pooled else rows
    live = output[0] > 0 if isinstance(activation, nn.ReLU) else torch.ones_like(output[0], dtype=torch.bool)
    live = live & read_by(network[position + 2 + pooled :], output)
    equations = [
        nn.grad.conv2d_weight(b[None], convolution.weight.shape, g, convolution.stride, convolution.padding).flatten()
        for b in basis
    ]
    gradient_rows = torch.stack(equations, 1)
    matrix = torch.cat([gradient_rows / gradient_rows.norm().clamp(min=1e-300), rows[:, live].T.detach()])
    if position > 0:
        matrix = matrix[:, read_by(network[position:], x).flatten()]
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-12)) == matrix.shape[1]


def test_prediction_and_outcome_agree():
    agree = recovered = 0
    for seed in range(COUNT):
        network, image, label = random_network(seed)
        gradient = gradients_of_steps(network, image[None], label[None])
        chain = read_network(network, tuple(image.shape[1:]))
        found = attack(chain, gradient)
        error = float(mean_squared_error(found.estimate[0], image)[0])
        report = found.reports[0]
        if found.success[0]:
            assert error < 1e-6, f"false success on network {seed}: {error:.1e}"
        if report.recoverable:
            agree += bool(found.success[0])
            recovered += bool(found.success[0])
        else:
            agree += not determined(network, image, label, int(report.reason.split(":")[0]))
    assert 0.2 * COUNT < recovered < 0.95 * COUNT
    assert agree >= 0.98 * COUNT
