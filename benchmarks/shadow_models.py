"""Shadow models: sample space against the published loop (DataLoader, autograd, SGD), one thread each.

    python -m benchmarks.shadow_models [--features SHARD.h5] [--device cuda]

Both start from the same initial weights and take turns in one run; the ratio is the median over rounds of the paired
times. Beside it stand the largest difference of any weight, and how far the loop itself is from the same loop in
float64: where lr·λ/N, λ the largest eigenvalue of a set's Gram matrix, is far beyond 4, descent is unstable and blows
up anybody's rounding. The floor is what no method can avoid: drawing the initial weights, gathering the features,
writing and syncing the weights. Features are ReLU-like noise unless a shard of deep_features is given, whose width
decides which configurations run.

Measured on one core of an AMD EPYC (AVX-512, 32 MiB of L3, other work beside it), torch 2.15, medians of 7 rounds:

                 plain ms   ours ms   models/s   ratio   floor/ours
    MNIST N=10       9.8     0.048     20,800     208       31 %     5,120 models trained, written, synced: 0.29 s
    MNIST N=40      20.1     0.141      7,100     143       15 %
    MNIST binary    13.2     0.043     23,400     307       30 %
    CIFAR N=10      15.1     0.137      7,300     111       50 %
    CIFAR N=40      36.4     0.381      2,600      95       26 %
    CelebA N=10     41.1     0.157      6,400     266       35 %
    CelebA N=40     58.1     0.546      1,800     107       18 %

No weight differed by more than 2e-7. On real VGG-tiny features of length 173 (lr·λ/N near 200; sample space goes to
float64 there) MNIST N=10 runs at 142 and N=40 at 71 times the loop, and differs from it by the loop's own rounding,
2e-6, but from float64 by 3e-8. No GPU was at hand.
"""

import argparse
import os
import statistics
import tempfile

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.clock import seconds
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard
from tests.reference.shadow_training import train_plainly

ROUNDS = 7
PLAIN_MODELS = 4
IMAGES = 20_000

MNIST = {"learning_rate": 0.01, "weight_decay": 1e-5, "init_std": 0.002}
CIFAR = {"learning_rate": 0.01, "weight_decay": 1e-4, "init_std": 0.0002}
CELEBA = {
    "classes": 1,
    "hidden": 4,
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "init_std": 0.0002,
    "positive_weight": 10.0,
    "epochs": 100,
}
CONFIGURATIONS = {  # features, images a set, models timed at once, training
    "MNIST N=10": (256, 10, 5120, Training(**MNIST, epochs=32)),
    "MNIST N=40": (256, 40, 1280, Training(**MNIST, epochs=50)),
    "MNIST binary": (256, 10, 5120, Training(**MNIST | {"learning_rate": 0.1}, epochs=32, classes=1, hidden=8)),
    "CIFAR N=10": (1280, 10, 1000, Training(**CIFAR, epochs=48)),
    "CIFAR N=40": (1280, 40, 500, Training(**CIFAR, epochs=78)),
    "CelebA N=10": (2048, 10, 1000, Training(**CELEBA)),
    "CelebA N=40": (2048, 40, 500, Training(**CELEBA)),
}


def write(weights: torch.Tensor) -> None:
    """To disk and synced, in the working directory's file system."""
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(weights.cpu().numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


def gather(features: torch.Tensor, indices: torch.Tensor) -> None:
    """Reads every set's features once, a few MiB at a time."""
    for rows in indices.flatten().split(2000):
        features.index_select(0, rows)


def training_sets(labels: torch.Tensor, samples: int, models: int, classes: int):
    """Random sets (M, N) with a tenth of every digit, and their labels; for a single logit one digit is positive."""
    drawn = []
    for digit in range(10):
        members = (labels % 10 == digit).nonzero().flatten().to(torch.int32)
        drawn.append(members[torch.randint(len(members), (models, samples // 10))])
    digits = torch.arange(10).repeat_interleave(samples // 10).expand(models, -1)
    return torch.cat(drawn, 1), digits if classes > 1 else (digits == 0).long()


def measure(features: torch.Tensor, labels: torch.Tensor, samples: int, models: int, training: Training) -> dict:
    """Medians over rounds: seconds a model either way, their ratio, the floor's share, and the worst differences."""
    generator = torch.Generator(features.device).manual_seed(0)
    head = Head(features.shape[1], training.hidden, training.classes)
    indices, labels = (one.to(features.device) for one in training_sets(labels, samples, models, training.classes))
    few = slice(PLAIN_MODELS)
    initial = torch.empty(PLAIN_MODELS, head.size, device=features.device)
    head.draw(initial, training.init_std, generator)
    same = train_shard(features, indices[few], labels[few], training, generator, initial)
    sets = list(zip(indices[few], labels[few], initial, strict=True))
    exact = torch.stack(
        [train_plainly(features[rows].double(), y, training, start.double()) for rows, y, start in sets]
    )
    rounds = []
    for _ in range(ROUNDS):
        plain = []
        plain_time = seconds(
            lambda plain=plain: plain.extend(
                train_plainly(features[rows], y, training, start) for rows, y, start in sets
            )
        )
        trained = []
        ours_time = seconds(
            lambda trained=trained: trained.append(train_shard(features, indices, labels, training, generator))
        )
        writing = seconds(lambda trained=trained: write(trained[0]))
        drawing = seconds(lambda: head.draw(torch.empty(models, head.size, device=features.device), 1.0, generator))
        gathering = seconds(lambda: gather(features, indices))
        rounds.append(
            {
                "plain": plain_time / PLAIN_MODELS,
                "ours": ours_time / models,
                "ratio": plain_time / PLAIN_MODELS / (ours_time / models),
                "floor": (drawing + gathering + writing) / (ours_time + writing),
                "shard": ours_time + writing,
                "difference": (torch.stack(plain) - same).abs().max().item(),
                "rounding": (torch.stack(plain) - exact).abs().max().item(),
            }
        )
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", help="a shard of deep_features")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    given = None
    if arguments.features:
        import h5py

        with h5py.File(arguments.features) as file:
            given = torch.as_tensor(file["features"][:]), torch.as_tensor(file["labels"][:])
    titles = ["plain ms/model", "ours ms/model", "models/s", "ratio", "floor/ours", "models", "s, written"]
    table = Table("", *titles, "max |Δw|", "loop's own")
    for name, (inputs, samples, models, training) in CONFIGURATIONS.items():
        if given and given[0].shape[1] != inputs:
            continue
        features, labels = given or (torch.randn(IMAGES, inputs).relu_(), torch.arange(IMAGES))
        found = measure(features.to(arguments.device), labels, samples, models, training)
        table.add_row(
            name,
            f"{found['plain'] * 1e3:.2f}",
            f"{found['ours'] * 1e3:.4f}",
            f"{1 / found['ours']:,.0f}",
            f"{found['ratio']:.0f}",
            f"{found['floor']:.0%}",
            f"{models:,}",
            f"{found['shard']:.2f}",
            f"{found['difference']:.0e}",
            f"{found['rounding']:.0e}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
