"""Private shadow models: DP-SGD in the span of each set against Opacus' PrivacyEngine, one thread each.

    python -m benchmarks.private_shadow_models [--law]

They take turns in one run; the ratio is the median over rounds of the paired times. With --law the first configuration
trains 2,000 models either way on one set and two-sample tests compare them (minutes, nearly all of them Opacus').

Measured on one core of an AMD EPYC (AVX-512, other work beside it), torch 2.15, Opacus 1.6, medians of 5 rounds:

                 Opacus ms   ours ms   models/s   ratio
    MNIST N=10       57       0.172      5,800     335
    MNIST N=40      102       0.696      1,400     139
    CIFAR N=10      104       0.414      2,400     247
    CIFAR N=40      250       1.468        680     164

--law, 2,000 models each: least p of nine kinds of statistic, corrected for their number, 0.21 (clipped fraction 0.35).
"""

import argparse
import statistics

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.same_law import p_values
from benchmarks.shadow_models import CIFAR, IMAGES, MNIST, seconds, training_sets
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_heads, train_shard

ROUNDS = 5
OPACUS_MODELS = 4
LAW_MODELS = 2000


def private(terms: dict, clip_norm: float, steps: int, noise_multiplier: float) -> Training:
    sampling = {"sample_rate": 0.5, "steps": steps}
    return Training(**terms, private=sampling | {"clip_norm": clip_norm, "noise_multiplier": noise_multiplier})


CONFIGURATIONS = {  # features, images a set, models timed at once, training
    "MNIST N=10, ε=5": (256, 10, 2000, private(MNIST, 4.0, 64, 1.82)),
    "MNIST N=40, ε=5": (256, 40, 500, private(MNIST, 4.0, 100, 2.75)),
    "CIFAR N=10, ε=10": (1280, 10, 500, private(CIFAR, 1.2, 96, 1.48)),
    "CIFAR N=40, ε=10": (1280, 40, 200, private(CIFAR, 1.2, 156, 2.15)),
}


def measure(inputs: int, samples: int, models: int, training: Training) -> dict[str, float]:
    """Medians over rounds: seconds a model of either way, and their ratio."""
    features = torch.randn(IMAGES, inputs).relu_()
    indices, labels = training_sets(torch.arange(IMAGES), samples, models, training.classes)
    referee = training.model_copy(update={"engine": "opacus"})
    generator = torch.Generator().manual_seed(0)
    few = slice(OPACUS_MODELS)
    train_shard(features, indices[few], labels[few], referee, generator)  # Opacus sets itself up
    rounds = []
    for _ in range(ROUNDS):
        opacus = seconds(lambda: train_shard(features, indices[few], labels[few], referee, generator)) / OPACUS_MODELS
        ours = seconds(lambda: train_shard(features, indices, labels, training, generator)) / models
        rounds.append({"opacus": opacus, "ours": ours, "ratio": opacus / ours})
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def compare_laws(name: str, console: Console) -> None:
    inputs, samples, _, training = CONFIGURATIONS[name]
    features, held_out = torch.randn(samples, inputs).relu_(), torch.randn(5, inputs).relu_()
    labels = torch.arange(samples) % training.classes
    sets = features.expand(LAW_MODELS, -1, -1), labels.expand(LAW_MODELS, -1)
    ours = train_heads(*sets, training, torch.Generator().manual_seed(1))
    referee = training.model_copy(update={"engine": "opacus"})
    theirs = train_heads(*sets, referee, torch.Generator().manual_seed(2))
    table = Table(f"{name}: {LAW_MODELS:,} models each", "p")
    for kind, p in p_values(ours, theirs, training, features, labels, held_out).items():
        table.add_row(kind, f"{min(p, 1):.3f}" + ("  differs" if p < 0.01 else ""))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--law", action="store_true", help="compare the laws instead of the times")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    console = Console(width=120)
    if arguments.law:
        compare_laws(next(iter(CONFIGURATIONS)), console)
        return
    table = Table("", "Opacus ms/model", "ours ms/model", "models/s", "ratio")
    for name, configuration in CONFIGURATIONS.items():
        found = measure(*configuration)
        times = f"{found['opacus'] * 1e3:.1f}", f"{found['ours'] * 1e3:.3f}"
        table.add_row(name, *times, f"{1 / found['ours']:,.0f}", f"{found['ratio']:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
