"""What does inverting heads by rounds gain over the Gaussian posterior, and what did not pay? Same heads, same batches.

    python -m benchmarks.head_inversion [CONFIG] [--steps 150] [--variants NAME …] [--set a.b=c]

Every variant learns from the same shadow models (streamed: nothing is written but the features of the images) and is
scored on the experiment's victims; differences are paired, victim by victim, with 95 % intervals, victims resampled.
`told`: rank correlation of the error expected and the error found, over all images.

Measured on one core of an AMD EPYC (other work beside it), torch 2.15, `--set head_inversion.precision=float32 --set
head_inversion.batch_size=128 --set head_inversion.width=256` (150 steps; the demo's 150 victims). The first block is of
one run, not clipped, where the error was still told by the correcting networks' own last layer, detached; the second
of another:

    inversion                        cosine   gained on the first        error found   found / expected      told
    four rounds                      0.854                                     0.090   1.10 (1.06 … 1.15)   0.142
    posterior, mean coefficients     0.640                                     0.183   4.02 (3.83 … 4.22)   0.419
    posterior, true coefficients     0.909                                     0.059   1.18 (1.14 … 1.23)   0.937
    one round                        0.787   -0.067 (-0.072 … -0.062)          0.134   1.10 (1.04 … 1.16)   0.296
    two rounds                       0.838   -0.016 (-0.017 … -0.014)          0.101   1.10 (1.05 … 1.16)   0.000
    that layer not detached          0.832   -0.022 (-0.023 … -0.020)          0.102   1.09 (1.05 … 1.13)   0.733

    a judge of its own, not clipped  0.855                                     0.090   1.10 (1.05 … 1.15)   0.693
    gradient clipped at 1            0.864    0.009 ( 0.008 …  0.010)          0.086   1.10 (1.06 … 1.15)   0.723
    each round alone                 0.846   -0.009 (-0.010 … -0.008)          0.095   1.10 (1.05 … 1.15)   0.670

So what did not pay: the error's gradient in the features, fewer rounds, leaving the gradient as it comes, and a
gradient that stops at each round. No adversary has the true coefficients; the rounds make up for 80 % of what they
would gain over the mean ones.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from pipeline.checkpoint import Checkpoint
from pipeline.config import Experiment, load
from pipeline.head_inversion import training
from pipeline.head_inversion.build import adversary_prior, noise_of, slots_of, start_of
from pipeline.head_inversion.inversion import HeadInversion
from pipeline.head_inversion.rounds import Round
from pipeline.head_inversion.section import interval, ratio_interval
from pipeline.head_inversion.training import (
    Heads,
    Measured,
    calibrate,
    hold_out,
    measure,
    measure_posterior,
    set_mean_coefficients,
)
from pipeline.randomness import numpy_generator
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.sources import HEADS, training_source
from pipeline.shadow import seeds
from pipeline.shadow.recipe import Recipe, head_of
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan


class EachRoundAlone(Round):
    """No gradient goes through the solve: every round learns from its own error alone."""

    def corrected(self, current, first, coefficients):
        return super().corrected(current.detach(), first, coefficients.detach())


VARIANTS: dict[str, tuple[dict, type[Round], float]] = {
    "as it is": ({}, Round, training.CLIP_NORM),
    "one round": ({"rounds": 1}, Round, training.CLIP_NORM),
    "two rounds": ({"rounds": 2}, Round, training.CLIP_NORM),
    "gradient not clipped": ({}, Round, float("inf")),
    "each round alone": ({}, EachRoundAlone, training.CLIP_NORM),
}
"""What each changes of `head_inversion:`, its rounds, and the longest gradient."""


OWN = seeds.training_seed(0)


class Problem:
    """The shadow models of an experiment and its victims, with the answers."""

    def __init__(self, experiment: Experiment):
        self.experiment, device = experiment, torch.device("cpu")
        plan, stage = Plan(experiment), stage_named("deep_features")
        for shard in stage.shards(experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)
        features = plan.finished(stage)
        own = features.read(seeds.features_of(experiment, OWN))
        apart = hold_out(own["labels"], numpy_generator(experiment.seed, "head_inversion", "held out"))
        self.prior = adversary_prior(experiment, own["features"][~apart], own["labels"][~apart])
        self.recipes = {seed: Recipe.of(experiment, seed, features, device) for seed in (OWN, seeds.VICTIMS)}
        self.labels = self.recipes[seeds.VICTIMS].make(seeds.VICTIMS).labels[0]
        self.slots = slots_of(experiment, self.labels)
        self.victims, self.victims_images = self.made(seeds.VICTIMS, seeds.VICTIMS)
        images, apart = torch.as_tensor(own["features"]) @ self.prior.directions, torch.as_tensor(apart)
        source = training_source(
            experiment, {"deep_features": features}, self.labels, ("order",), device, columns=HEADS
        )
        batches = ShadowBatches(source, experiment.head_inversion.batch_size, ("batches",), device).from_step
        self.heads: Callable[[int], Iterator[Heads]] = lambda step: (
            Heads.of(self.slots, *columns, images, apart) for columns in batches(step)
        )

    def made(self, of: str, shard: str) -> tuple[Heads, torch.Tensor]:
        """The heads of a permutation seed, by the recipe of OWN or VICTIMS, and the images (M, N) slot by slot."""
        recipe = self.recipes[of]
        made, features = recipe.make(shard), recipe.features @ self.prior.directions
        indices = torch.as_tensor(made.indices).long()
        heads = Heads.of(self.slots, made.weights.float(), indices, made.coefficients, features)
        return heads, indices.gather(1, self.slots.order(made.coefficients))

    def inversion(self, rounds: int) -> HeadInversion:
        experiment, images = self.experiment, len(self.labels)
        noise, start = noise_of(experiment, images), start_of(experiment, images)
        width = experiment.head_inversion.width
        return HeadInversion(self.prior, self.slots, head_of(experiment), noise, rounds, width, start)

    def untrained(self) -> HeadInversion:
        """Prior and mean coefficients: the closed form."""
        inversion = self.inversion(1)
        set_mean_coefficients(inversion, self.heads(0))
        return inversion

    def by_posterior(self, *, oracle: bool) -> Measured:
        """The Gaussian posterior alone: with every victim's true coefficients, or with the mean ones."""
        inversion = self.untrained()
        return measure_posterior(
            inversion, self.victims, self.victims.coefficients if oracle else inversion.mean_coefficients
        )

    def by_rounds(self, changes: dict, kind: type[Round], clip_norm: float) -> Measured:
        settings = self.experiment.head_inversion.model_copy(update=changes)
        inversion = self.inversion(settings.rounds)
        for one in inversion.rounds:
            one.__class__ = kind
        with patch.object(training, "CLIP_NORM", clip_norm):
            training.train_rounds(
                inversion,
                self.heads,
                settings,
                purpose=("benchmark",),
                checkpoint=Checkpoint(Path("/nonexistent"), "", period=float("inf")),
                progress=lambda *_: None,
            )
        calibrate(inversion, self.heads(settings.steps))
        return measure(inversion, self.victims)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", nargs="?", default="demo")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fixed = ["shadow_models.source=stream", "head_inversion.augmentation=null"]
    problem = Problem(load(arguments.config, [*fixed, f"head_inversion.steps={arguments.steps}", *arguments.set]))
    table = Table("inversion", "cosine", "gained on the first", "error found", "found / expected", "told")
    first = None
    results = [(name, lambda name=name: problem.by_rounds(*VARIANTS[name])) for name in arguments.variants]
    results[1:1] = [
        ("posterior, mean coefficients", lambda: problem.by_posterior(oracle=False)),
        ("posterior, true coefficients", lambda: problem.by_posterior(oracle=True)),
    ]
    for name, result in results:
        cosine, found, expected = (part.numpy() for part in vars(result()).values())
        gained = "" if first is None else str(interval(cosine - first))
        first = cosine if first is None else first
        told = spearmanr(expected.ravel(), found.ravel()).statistic
        row = name, interval(cosine), gained, interval(found), ratio_interval(found, expected), f"{told:.3f}"
        print(*row, sep="; ", flush=True)
        table.add_row(*map(str, row))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
