"""Un-mixing batches against peeling alone and SPEAR: same gradients, one process, one thread.

    python -m benchmarks.gradient_batches

RECON_DATA=… names the folder of data; without it smooth random images stand in for CIFAR-10, and the figures differ.
The network is 3072-1000-10 with ReLU in PyTorch's default initialisation; images are centred by channel, or in [0, 1].

"Peeling alone" is the first half of the attack: units that one image fires, each accepted by its forward pass and taken
out. "SPEAR" is the passive attack of Dimitrov et al. (2024; arXiv 2403.03945) as its sections 4 and 5 describe it: the
gradient's column space; null vectors of B − 1 of its rows, drawn at random, kept where they vanish on a quarter of the
units; the sparsest of those that are independent, until the units that their images fire are those that the directions
say. It is given 300,000 draws.

Measured on one core of an AMD EPYC (other work beside it), torch 2.15; seconds are of the processor:

    images        B  method                 exact   seconds
    centred       8  ours                  8 of 8      0.48
    centred       8  peeling alone         8 of 8      0.38
    centred       8  SPEAR                 8 of 8      0.04
    centred      16  ours                16 of 16      0.36
    centred      16  peeling alone        0 of 16      0.18
    centred      16  SPEAR               16 of 16      2.96
    centred      32  ours                32 of 32      0.44
    centred      32  peeling alone        0 of 32      0.19
    centred      64  ours                64 of 64      0.71
    centred      64  peeling alone        0 of 64      0.23
    centred     128  ours              128 of 128      2.90
    centred     128  peeling alone       0 of 128      0.37
    [0, 1]        8  ours                  8 of 8      0.24
    [0, 1]        8  peeling alone         8 of 8      0.19
    [0, 1]        8  SPEAR                 8 of 8      0.11
    [0, 1]       16  ours                16 of 16      0.48
    [0, 1]       16  peeling alone       16 of 16      0.43
    [0, 1]       16  SPEAR                0 of 16     10.93
    [0, 1]       32  ours                32 of 32      0.63
    [0, 1]       32  peeling alone       32 of 32      0.55
    [0, 1]       64  ours                64 of 64      0.85
    [0, 1]       64  peeling alone       64 of 64      0.74
    [0, 1]      128  ours              128 of 128      2.96
    [0, 1]      128  peeling alone     128 of 128      2.17
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.batches.mixture import HiddenLayer, mixture
from pipeline.gradient_inversion.batches.peeling import peel
from pipeline.gradient_inversion.batches.unmixing import solve
from pipeline.gradient_inversion.layers import Chain, read_network
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.step import Gradient, gradients_of_steps
from pipeline.randomness import torch_generator

SHAPE = (3, 32, 32)
SIZES = (8, 16, 32, 64, 128)
MOST_BY_SPEAR = 16
"""Chance of a draw falls as 2^(1 − B): 300,000 draws end at about this B."""
DRAWS = 300_000
PRECISION = 2.2e-16


def main() -> None:
    torch.set_num_threads(1)
    images, labels = _images(max(SIZES))
    print(f"{'images':<10}{'B':>5}  {'method':<16}{'exact':>12}{'seconds':>10}")
    for centred in (True, False):
        for size in SIZES:
            batch = images[:size]
            if centred:
                batch = (batch - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)
            network, gradient = _exposed(batch, labels[:size])
            methods = {"ours": _ours, "peeling alone": _peeling}
            if size <= MOST_BY_SPEAR:
                methods["SPEAR"] = _spear
            for name, method in methods.items():
                _print("centred" if centred else "[0, 1]", batch, name, method, network, gradient)


def _images(count: int) -> tuple[Tensor, Tensor]:
    if "RECON_DATA" not in os.environ:
        generator = torch_generator("benchmark images")
        coarse = torch.rand(count, 3, 6, 6, generator=generator, dtype=torch.float64)
        smooth = torch.nn.functional.interpolate(coarse, size=SHAPE[1:], mode="bicubic").clamp(0, 1)
        return smooth, torch.randint(10, (count,), generator=generator)
    source = load(DataSet(name="cifar10"), "train", Path(os.environ["RECON_DATA"]))
    pixels = target_images(source.part(range(count)), SHAPE[1]).double() / 255
    return pixels, torch.as_tensor(source.labels[:count]).long()


def _exposed(images: Tensor, labels: Tensor) -> tuple[Chain, Gradient]:
    module = build("fully_connected", SHAPE, 10, torch_generator("benchmark network"), init="default")
    gradient = gradients_of_steps(module, images[None], labels[None])
    return read_network(module, SHAPE), gradient


def _ours(network: Chain, gradient: Gradient, size: int) -> Tensor:
    return attack(network, gradient, batch_size=size).images[0].flatten(1)


def _matrix(network: Chain, gradient: Gradient) -> Tensor:
    name = network.head[0].name
    return torch.cat([gradient[f"{name}.weight"][0], gradient[f"{name}.bias"][0][:, None]], 1)


def _peeling(network: Chain, gradient: Gradient, size: int) -> Tensor:
    hidden, logits = network.head
    layer = HiddenLayer(hidden.weight, hidden.bias, logits.weight, logits.bias)
    return peel(mixture(_matrix(network, gradient), PRECISION, size), layer, size, 1e-7)[0]


def _spear(network: Chain, gradient: Gradient, size: int) -> Tensor:
    matrix, hidden = _matrix(network, gradient), network.head[0]
    whole = mixture(matrix, PRECISION, size).left
    left = whole[whole.norm(dim=1) > 1e-9]
    generator = torch_generator("SPEAR", size)
    kept, zeros = left.new_zeros(0, size), torch.zeros(0, dtype=torch.long)
    for _ in range(DRAWS // 1000):
        rows = torch.rand(1000, len(left), generator=generator).topk(size - 1, dim=1).indices
        _, strength, right = torch.linalg.svd(left[rows], full_matrices=True)
        direction = right[strength[:, -1] > 1e-6, -1]  # rows that are all silent in two images single out neither
        silent = ((direction @ left.T).abs() < 1e-9).sum(1)
        sparse = silent >= len(left) / 4
        kept, zeros = torch.cat([kept, direction[sparse]]), torch.cat([zeros, silent[sparse]])
        kept, zeros = (part[zeros.argsort(descending=True, stable=True)] for part in (kept, zeros))
        chosen = _independent(kept, size)
        if len(chosen) == size:
            deltas = chosen @ whole.T
            extended = solve(deltas, matrix)
            inputs = extended[:, :-1] / extended[:, -1:]
            fires = inputs @ hidden.weight.T + hidden.bias > 0
            if (fires == (deltas.abs() > 1e-9)).double().mean() > 0.999:
                return inputs
    return matrix.new_full((1, matrix.shape[1] - 1), torch.nan)


def _independent(directions: Tensor, most: int) -> Tensor:
    """The first of the directions (m, B), of unit norm, that do not lie in the span of those before them."""
    chosen, basis = [], directions.new_zeros(0, directions.shape[1])
    for direction in directions[:500]:
        rest = direction - basis.T @ (basis @ direction)
        if rest.norm() > 1e-4 and len(chosen) < most:
            chosen.append(direction)
            basis = torch.cat([basis, (rest / rest.norm())[None]])
    return torch.stack(chosen) if chosen else directions


def _print(
    kind: str,
    images: Tensor,
    name: str,
    method: Callable[[Chain, Gradient, int], Tensor],
    network: Chain,
    gradient: Gradient,
) -> None:
    start = time.process_time()
    found = method(network, gradient, len(images))
    spent = time.process_time() - start
    errors = [(found - image).square().mean(1).nan_to_num(torch.inf) for image in images.flatten(1)]
    exact = sum(bool(len(error) and error.min() < 1e-12) for error in errors)
    print(f"{kind:<10}{len(images):>5}  {name:<16}{f'{exact} of {len(images)}':>12}{spent:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
