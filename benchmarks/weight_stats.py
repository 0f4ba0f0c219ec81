"""Weight statistics against NumPy and against the machine's own matrix product, one thread each.

    python -m benchmarks.weight_stats

Moments: mean and deviation of a shard against NumPy's. Correlation: against one float32 product ZᵀZ of as many rows,
for which Z lies ready; ours standardises, sums in float64 and computes half the product.
H1: 892 weight vectors of no model, by factorisation and matrix-free. Memory is the process's peak so far.

Measured on one core of an AMD EPYC (AVX-512, other work beside it), torch 2.15, medians of 3 rounds: the correlation
runs at 1.8 (P = 2,570) and 2.3 (P = 12,810) times the speed of the product, which has twice its multiplications;
3.4 GB at the most, factorisation (24 s) included; moments in a half to a fifth of NumPy's time.
"""

import resource
import statistics

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.shadow_models import seconds
from pipeline.statistics import Standardisation, correlation, h1_from_correlation, h1_from_weights, moments_of

ROUNDS = 3
DRAWS = 892
WEIGHTS = {"MNIST": (2_570, 5_120), "CIFAR": (12_810, 2_048)}
"""Weights of a model, models of a shard."""


def measure(width: int, models: int) -> dict[str, float]:
    """Medians over rounds. A further shard's share of the correlation is the time of two shards less that of one."""
    shard = torch.randn(models, width).mul_(0.01).numpy()
    standardisation = Standardisation.of(moments_of([shard]))
    generator = torch.Generator().manual_seed(0)
    rounds = []
    for _ in range(ROUNDS):
        product = product_time(standardisation.apply(shard))
        one, two = (seconds(lambda count=count: correlation([shard] * count, standardisation)) for count in (1, 2))
        rounds.append(
            {
                "NumPy mean, deviation": seconds(lambda: (shard.mean(0, dtype="f8"), shard.std(0, dtype="f8"))),
                "moments": seconds(lambda: moments_of([shard])),
                "product ZᵀZ": product,
                "correlation, a further shard": two - one,
                "correlation's speed in products": product / (two - one),
                "H1 matrix-free": seconds(lambda: h1_from_weights([shard], standardisation, DRAWS, generator)),
            }
        )
    found = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    matrix = correlation([shard], standardisation)
    found["H1 by factorisation"] = seconds(lambda: h1_from_correlation(matrix, DRAWS, generator))
    found["peak memory, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return found


def product_time(z: torch.Tensor) -> float:
    return seconds(lambda: z.mT @ z)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    columns = {name: measure(*sizes) for name, sizes in WEIGHTS.items()}
    titles = [f"{name}, P = {width:,}, {models:,} models" for name, (width, models) in WEIGHTS.items()]
    table = Table("seconds", *titles)
    for row in next(iter(columns.values())):
        table.add_row(row, *(f"{column[row]:.2f}" for column in columns.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
