"""Scoring beside the reconstructor's own forward pass: how much time does everything else take, and how much memory?

    python -m benchmarks.evaluation [--rounds 5] [--victims 10240] [--device cuda]

Whole scoring (forward, matching with every candidate, bytes, PSNR, SSIM, tables) and the forward pass alone, in batches
of the same size, take turns on the same victims; `else` is the median over rounds of the paired ratios, less one. One
thread on a CPU. Memory is the most this process ever held, interpreter and libraries included. Below: drawing H1's
weights from the correlation, which is no part of scoring, and rating the finished tables.

Measured on one core of an AMD EPYC (other work beside it), torch 2.15, `--victims 1024 --rounds 9`: everything else
takes 10 % (unconditional) and 6 % (conditional) at width 16, 3 % and 9 % at width 64. No GPU was at hand.
"""

import argparse
import resource
import statistics

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.clock import seconds
from pipeline.evaluation.image_metrics import psnr_in_unit_range, ssim_in_unit_range
from pipeline.evaluation.min_mse import BLOCK, min_mse
from pipeline.evaluation.rates import rates
from pipeline.evaluation.reading import WeightReader
from pipeline.evaluation.settings import Evaluation
from pipeline.evaluation.victims import VictimSet
from pipeline.networks.reconstructor import Reconstructor
from pipeline.statistics import Standardisation, h1_from_correlation

INPUTS = 2570
IMAGES = 10_000
METRICS = {"psnr": psnr_in_unit_range, "ssim": ssim_in_unit_range}


@torch.no_grad()
def forward(network: Reconstructor, victims: VictimSet) -> None:
    network.eval()
    count = victims.groups.shape[1]
    block = max(1, BLOCK // count)
    for start in range(0, len(victims), block):
        shown = victims.reading[start : start + block]
        network(shown.inputs.flatten(0, 1), None if shown.labels is None else shown.labels.flatten())


def made_up(count: int, groups: int, candidates: int, device: str) -> VictimSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 32, 32), dtype=torch.uint8, generator=generator)
    inputs = torch.randn(count, INPUTS, generator=generator)
    chosen = torch.randint(0, IMAGES, (count, groups, candidates), generator=generator)
    identity = Standardisation(torch.ones(INPUTS, dtype=torch.bool), torch.zeros(INPUTS), torch.ones(INPUTS))
    reading = WeightReader(identity, groups, conditional=groups > 1).read(inputs.to(device))
    return VictimSet(reading, images.to(device), chosen.to(device))


def measure(network: Reconstructor, victims: VictimSet, rounds: int) -> tuple[float, float]:
    """Seconds of the forward pass for an image, and whole scoring's ratio to it: medians over rounds."""
    forward(network, victims.first(64))
    times = [
        (seconds(lambda: forward(network, victims)), seconds(lambda: min_mse(network, victims, METRICS)))
        for _ in range(rounds)
    ]
    images = victims.groups.shape[0] * victims.groups.shape[1]
    alone = statistics.median(alone for alone, _ in times) / images
    return alone, statistics.median(whole / alone for alone, whole in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--victims", type=int, default=10_240, help="unconditional; conditional ones in proportion")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shown = Table("victims", "width", "forward, ms an image", "else")
    conditional = 892 * arguments.victims // 10_240
    scorings = (
        (f"{arguments.victims:,}, unconditional, 10 candidates", arguments.victims, 1, 10),
        (f"{conditional:,} × 10 classes", conditional, 10, 1),
    )
    for width, part in ((16, 1), (64, 16)):
        for title, count, groups, candidates in scorings:
            victims = made_up(max(8, count // part), groups, candidates, arguments.device)
            network = Reconstructor(INPUTS, 1, 32, width, groups if groups > 1 else 0).to(arguments.device)
            alone, ratio = measure(network, victims, arguments.rounds)
            named = title if part == 1 else f"{title}, one in {part}"
            shown.add_row(named, str(width), f"{alone * 1e3:.3f}", f"{ratio - 1:.1%}")
    console = Console(width=110)
    console.print(shown)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"most memory: {peak:.2f} GB")
    matrix = torch.eye(INPUTS, dtype=torch.float64, device=arguments.device)
    generator = torch.Generator(arguments.device).manual_seed(0)
    drawing = seconds(lambda: h1_from_correlation(matrix, arguments.victims, generator))
    console.print(f"drawing {arguments.victims:,} weights of {INPUTS} numbers: {drawing:.1f} s")
    rng = np.random.default_rng(0)
    h0, h1 = rng.uniform(0, 1, (2, 892, 10))
    judged = Evaluation()
    rating = seconds(lambda: rates(h0, h1, 0.1, judged.false_positive_rates, judged.bootstraps, rng))
    console.print(f"rating 892 × 10 scores with {judged.bootstraps} bootstraps: {rating:.2f} s")


if __name__ == "__main__":
    main()
