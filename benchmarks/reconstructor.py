"""The reconstructor's training step against the published one: same network, same batch, same weights to begin with.

    python -m benchmarks.reconstructor [--device cuda] [--width 16] [--batch 64] [--precision bfloat16] [--compile]

Both take turns in one run; the ratio is the median over rounds of the paired times. The published step is the paper's
network as it is written down (tests/reference/reconstructor_training.py), with PyTorch's default layout and Adam, and
its data are ready for it. Ours is what the training loop does in a step: shuffles, gathers and standardises, too.
The stream's share is the time to make a step's shadow models, in blocks of many seeds, by the step's. TFLOP/s count
what our step multiplies, which is less than the published one does.

Measured on one core of an AMD EPYC (AVX-512, other work beside it, which slows both), torch 2.15, width 16, batch 64,
medians of 31 rounds: 196 ms against 83, ratio 2.27; compiled 2.64; bfloat16 3.22, on a core that has units for it. The
stream takes 6 % of a step. No GPU was at hand.
"""

import argparse
import statistics

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.shadow_models import seconds
from pipeline.data.images import to_unit
from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.reconstruction.forward import compiled
from pipeline.reconstruction.losses import reconstruction_loss
from pipeline.reconstruction.precision import autocast, resolved
from pipeline.reconstruction.settings import Reconstructor as Settings
from pipeline.reconstruction.state import State
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard
from pipeline.statistics import Standardisation
from tests.reference.reconstructor_training import PlainReconstructor, plain_step

ROUNDS, WARM = 31, 4
MODELS = 5_120
HEAD = Training(learning_rate=0.01, epochs=32, weight_decay=1e-5, init_std=0.002)


class Ours:
    """The body of pipeline.reconstruction.train's loop."""

    def __init__(self, arguments, device, weights, indices, images):
        settings = Settings(width=arguments.width, batch_size=arguments.batch, precision=arguments.precision)
        self.network = Reconstructor(weights.shape[1], 1, 32, arguments.width, 10)
        initialise(self.network, torch.Generator().manual_seed(0))
        self.network.to(device)
        precision = resolved(settings.precision, device)
        self.state, self.narrowed = State(self.network, settings, precision, device), autocast(precision, device)
        self.forward, self.is_compiled = self.network, False
        if arguments.compile:
            self.forward, self.is_compiled = compiled(
                self.network, self.network, arguments.batch, self.narrowed, device
            )
        self.weights, self.indices, self.images = weights, indices, images
        self.standardise = Standardisation(
            torch.ones(weights.shape[1], dtype=torch.bool, device=device),
            weights.double().mean(0),
            weights.double().std(0),
        )
        self.models = torch.arange(arguments.batch, device=device)

    def batch(self, rows):
        groups = candidate_groups(self.indices[rows], 1, "conditional", "multiclass")
        label = rows % 10
        candidates = to_unit(self.images[groups[self.models, label]])
        return self.standardise.apply(self.weights[rows]), label, candidates

    def step(self, rows):
        z, label, candidates = self.batch(rows)
        with self.narrowed:
            loss = reconstruction_loss(self.forward(z, label), candidates, 100.0)
        self.state.update(loss, 1e-3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    place = {"device": device, "generator": torch.Generator(device).manual_seed(0)}
    features = torch.rand(7_020, 256, **place)
    images = torch.randint(0, 256, (7_020, 1, 32, 32), dtype=torch.uint8, **place)
    indices = torch.randint(0, 7_020, (MODELS, 10), **place)
    labels = torch.arange(10, device=device).expand(MODELS, 10)

    def make_models():
        return train_shard(features, indices, labels, HEAD, place["generator"])

    ours = Ours(arguments, device, make_models(), indices, images)
    plain = PlainReconstructor(ours.network.inputs, 1, 32, arguments.width, 10).to(device)
    plain.load_state_dict(ours.network.state_dict())
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    times = {"published": [], "ours": []}
    for round_number in range(WARM + ROUNDS):
        rows = torch.randperm(MODELS, **place)[: arguments.batch]
        ready = ours.batch(rows)
        taken = {
            "published": seconds(lambda ready=ready: plain_step(plain, optimizer, *ready)),
            "ours": seconds(lambda rows=rows: ours.step(rows)),
        }
        if round_number >= WARM:
            for name, value in taken.items():
                times[name].append(value)
    ratio = statistics.median(a / b for a, b in zip(times["published"], times["ours"], strict=True))
    published, own = (1e3 * statistics.median(values) for values in times.values())
    with FlopCounterMode(display=False) as counter:
        ours.step(rows)
    stream = 1e3 * statistics.median(seconds(make_models) for _ in range(3)) * arguments.batch / MODELS
    columns = ("width", "batch", "precision", "compiled", "published ms", "ours ms", "ratio", "images/s", "TFLOP/s")
    table = Table(*columns, "stream ms")
    table.add_row(
        *(str(value) for value in (arguments.width, arguments.batch, ours.state.precision, ours.is_compiled)),
        *(f"{published:.1f}", f"{own:.1f}", f"{ratio:.2f}", f"{1e3 * arguments.batch / own:,.0f}"),
        f"{counter.get_total_flops() / own / 1e9:.3f}",
        f"{stream:.1f} ({100 * stream / own:.0f} %)",
    )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
