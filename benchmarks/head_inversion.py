"""What does inverting heads by rounds gain over the Gaussian posterior, and what did not pay? Same heads, same batches.

    python -m benchmarks.head_inversion [CONFIG] [--steps 150] [--variants NAME …] [--set a.b=c]

Every variant learns from the same shadow models (streamed: nothing is written but the features of the images) and is
scored on the experiment's victims; differences are paired, victim by victim, with 95 % intervals, victims resampled.
`told`: rank correlation of the error expected and the error found, over all images.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pipeline.checkpoint import Checkpoint
from pipeline.config import Experiment, load
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
    train_rounds,
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


def clip(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """The gradient of the correcting networks."""
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)


VARIANTS: dict[str, tuple[dict, type[Round], Callable | None]] = {
    "as it is": ({}, Round, None),
    "one round": ({"rounds": 1}, Round, None),
    "two rounds": ({"rounds": 2}, Round, None),
    "gradient clipped at 1": ({}, Round, clip),
    "each round alone": ({}, EachRoundAlone, None),
}
"""What each changes of `head_inversion:`, its rounds, and what happens before a step of AdamW."""


class Problem:
    """The shadow models of an experiment and its victims, with the answers."""

    def __init__(self, experiment: Experiment):
        self.experiment, device = experiment, torch.device("cpu")
        plan, stage = Plan(experiment), stage_named("deep_features")
        for shard in stage.shards(experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)
        features = plan.finished(stage)
        own, theirs = (
            features.read(seeds.features_of(experiment, seed)) for seed in (seeds.training_seed(0), seeds.VICTIMS)
        )
        apart = hold_out(own["labels"], numpy_generator(experiment.seed, "head_inversion", "held out"))
        self.prior = adversary_prior(experiment, own["features"][~apart], own["labels"][~apart])
        made = Recipe.of(experiment, seeds.VICTIMS, features, device).make(seeds.VICTIMS)
        self.labels = made.labels[0]
        self.slots = slots_of(experiment, self.labels)
        indices = torch.as_tensor(made.indices).long()
        unseen = torch.as_tensor(theirs["features"]) @ self.prior.directions
        self.victims = Heads.of(self.slots, made.weights.float(), indices, made.coefficients, unseen)
        images, apart = torch.as_tensor(own["features"]) @ self.prior.directions, torch.as_tensor(apart)
        source = training_source(
            experiment, {"deep_features": features}, self.labels, ("order",), device, columns=HEADS
        )
        batches = ShadowBatches(source, experiment.head_inversion.batch_size, ("batches",), device).from_step
        self.heads: Callable[[int], Iterator[Heads]] = lambda step: (
            Heads.of(self.slots, *columns, images, apart) for columns in batches(step)
        )

    def inversion(self, rounds: int) -> HeadInversion:
        experiment, images = self.experiment, len(self.labels)
        noise, start = noise_of(experiment, images), start_of(experiment, images)
        width = experiment.head_inversion.width
        return HeadInversion(self.prior, self.slots, head_of(experiment), noise, rounds, width, start)

    def by_posterior(self, *, oracle: bool) -> Measured:
        """The Gaussian posterior alone: with every victim's true coefficients, or with the mean ones."""
        inversion = self.inversion(1)
        set_mean_coefficients(inversion, self.heads(0))
        return measure_posterior(
            inversion, self.victims, self.victims.coefficients if oracle else inversion.mean_coefficients
        )

    def by_rounds(self, changes: dict, kind: type[Round], before_step: Callable | None) -> Measured:
        settings = self.experiment.head_inversion.model_copy(update=changes)
        inversion = self.inversion(settings.rounds)
        for one in inversion.rounds:
            one.__class__ = kind
        hook = register_optimizer_step_pre_hook(before_step) if before_step else None
        train_rounds(
            inversion,
            self.heads,
            settings,
            purpose=("benchmark",),
            checkpoint=Checkpoint(Path("/nonexistent"), "", period=float("inf")),
            progress=lambda *_: None,
        )
        if hook:
            hook.remove()
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
    results = [
        ("posterior, mean coefficients", lambda: problem.by_posterior(oracle=False)),
        ("posterior, true coefficients", lambda: problem.by_posterior(oracle=True)),
        *((name, lambda name=name: problem.by_rounds(*VARIANTS[name])) for name in arguments.variants),
    ]
    for name, result in results:
        cosine, found, expected = (part.numpy() for part in vars(result()).values())
        if name == arguments.variants[0]:
            first = cosine
        gained = "" if first is None or first is cosine else str(interval(cosine - first))
        told = spearmanr(expected.ravel(), found.ravel()).statistic
        row = name, interval(cosine), gained, interval(found), ratio_interval(found, expected), f"{told:.3f}"
        print(*row, sep="; ", flush=True)
        table.add_row(*map(str, row))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
