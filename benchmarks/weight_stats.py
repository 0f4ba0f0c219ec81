"""Weight statistics against NumPy and against the machine's own matrix product, one thread each.

    python -m benchmarks.weight_stats

Moments: mean and deviation over shards against NumPy's on the concatenated weights. Correlation: against one float32
product ZᵀZ of as many rows, for which Z lies ready; ours standardises, sums in float64 and computes half the product.
H1: 892 weight vectors of no model, by factorisation and matrix-free. Memory is the process's peak so far.
"""

import resource

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.shadow_models import seconds
from pipeline.statistics import Standardisation, correlation, h1_from_correlation, h1_from_weights, moments_of

ROUNDS = 3
DRAWS = 892
WEIGHTS = {"MNIST": (2_570, 5_120), "CIFAR": (12_810, 2_048)}
"""Weights of a model, models of a shard; there are two shards."""


def fastest(work) -> float:
    return min(seconds(work) for _ in range(ROUNDS))


def product_time(z: torch.Tensor) -> float:
    return seconds(lambda: z.mT @ z)


def measure(width: int, models: int) -> dict[str, float]:
    shards = [torch.randn(models, width).mul_(0.01).numpy() for _ in range(2)]
    together = np.concatenate(shards)
    found = {
        "NumPy mean, deviation": fastest(
            lambda: (together.mean(0, dtype=np.float64), together.std(0, dtype=np.float64))
        ),
        "moments": fastest(lambda: moments_of(shards)),
    }
    standardisation = Standardisation.of(moments_of(shards))
    found["product ZᵀZ"] = product_time(standardisation.apply(together))
    once, twice = (seconds(lambda count=count: correlation(shards * count, standardisation)) for count in (1, 2))
    found["correlation, as many rows more"] = twice - once
    matrix = correlation(shards, standardisation)
    generator = torch.Generator().manual_seed(0)
    found["H1 matrix-free"] = seconds(lambda: h1_from_weights(shards, standardisation, DRAWS, generator))
    found["H1 by factorisation"] = seconds(lambda: h1_from_correlation(matrix, DRAWS, generator))
    found["peak memory, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    columns = {name: measure(*sizes) for name, sizes in WEIGHTS.items()}
    titles = [f"{name}, P = {width:,}, 2 × {models:,} models" for name, (width, models) in WEIGHTS.items()]
    table = Table("seconds", *titles)
    for row in next(iter(columns.values())):
        table.add_row(row, *(f"{column[row]:.2f}" for column in columns.values()))
    shares = (column["product ZᵀZ"] / column["correlation, as many rows more"] for column in columns.values())
    table.add_row("speed in products ZᵀZ", *(f"{share:.2f}" for share in shares))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
