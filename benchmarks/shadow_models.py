"""Shadow models: sample space against the published loop (DataLoader, autograd, SGD), one thread each.

    python -m benchmarks.shadow_models [--features SHARD.h5] [--device cuda]

Both start from the same initial weights and take turns in one run; the ratio is the median over rounds of the paired
times, and the largest difference of any weight is printed beside it. The floor is what no method can avoid: drawing
the initial weights, gathering the features, writing and syncing the weights. Features are ReLU-like noise unless a
shard of deep_features is given, whose width decides which configurations run.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.plain_loop import train_plainly
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard

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


def seconds(work: Callable) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def write(weights: torch.Tensor) -> None:
    """To disk and synced, in the working directory's file system."""
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(weights.cpu().numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


def training_sets(features: torch.Tensor, samples: int, models: int, classes: int):
    """Random indices (M, N) and labels (M, N), a tenth of them positive for a single logit."""
    indices = torch.stack([torch.randperm(len(features))[:samples] for _ in range(models)]).to(torch.int32)
    digits = torch.arange(10).repeat_interleave(samples // 10).expand(models, -1)
    return indices.to(features.device), (digits if classes > 1 else (digits == 0).long()).to(features.device)


def measure(features: torch.Tensor, samples: int, models: int, training: Training) -> dict[str, float]:
    """Medians over rounds: seconds a model of either way and of the floor, their ratio, and the worst difference."""
    generator = torch.Generator(features.device).manual_seed(0)
    head = Head(features.shape[1], training.hidden, training.classes)
    indices, labels = training_sets(features, samples, models, training.classes)
    few = slice(PLAIN_MODELS)
    initial = torch.empty(PLAIN_MODELS, head.size, device=features.device)
    head.draw(initial, training.init_std, generator)
    same = train_shard(features, indices[few], labels[few], training, generator, initial)
    rounds = []
    for _ in range(ROUNDS):
        plain = []
        plain_time = seconds(
            lambda plain=plain: plain.extend(
                train_plainly(features[rows], answers, training, start)
                for rows, answers, start in zip(indices[few], labels[few], initial, strict=True)
            )
        )
        trained = []
        ours_time = seconds(
            lambda trained=trained: trained.append(train_shard(features, indices, labels, training, generator))
        )
        writing = seconds(lambda trained=trained: write(trained[0]))
        drawing = seconds(lambda: head.draw(torch.empty(models, head.size, device=features.device), 1.0, generator))
        gathering = seconds(lambda: features.index_select(0, indices.flatten()))
        rounds.append(
            {
                "plain": plain_time / PLAIN_MODELS,
                "ours": ours_time / models,
                "ratio": plain_time / PLAIN_MODELS / (ours_time / models),
                "floor": (drawing + gathering + writing) / (ours_time + writing),
                "shard": ours_time + writing,
                "difference": (torch.stack(plain) - same).abs().max().item(),
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
            given = torch.as_tensor(file["features"][:])
    table = Table(
        "", "plain ms/model", "ours ms/model", "models/s", "ratio", "floor/ours", "models", "s, written", "max |Δw|"
    )
    for name, (inputs, samples, models, training) in CONFIGURATIONS.items():
        if given is not None and given.shape[1] != inputs:
            continue
        features = torch.randn(IMAGES, inputs).relu_() if given is None else given
        found = measure(features.to(arguments.device), samples, models, training)
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
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
