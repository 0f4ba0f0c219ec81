"""How good is the attack after how long? Recipes of the reconstructor on the demo's shadow models.

    python -m benchmarks.time_to_quality [RECIPE …] [--config demo] [--seconds 900] [--set a.b=c]

`published` is the paper's recipe in the paper's own loop (benchmarks/plain_reconstructor.py): Adam at 2e-4, batch 32. A
cosine schedule ends where its steps end, so it is run once for every length. Scores are those of the watched victims,
real ones (H0) and weights that saw none of their images (H1); they are not the victims that the demo reports on. Shadow
models and their statistics must be there (`python -m stages.shadow_models demo`, then `stages.weight_stats`).
Seconds are CPU time of the one thread that trains, so that who else is at work counts less.

Measured on one core of an AMD EPYC (AVX-512, other work beside it), torch 2.15; demo recipes at the end of
their steps:

    recipe            steps    seconds   min-MSE   TPR at FPR 1 %
    published         2,000        140     0.220     0.02
    published         6,000        413     0.180     0.02
    published        11,000        758     0.160     0.05
    demo                500         32     0.211     0.03
    demo              1,000         67     0.180     0.03
    demo              2,000        123     0.155     0.06
    demo, stream      2,000        140     0.154     0.06     making the models included, no shard written
    demo              7,000        450     0.115     0.15

What the published recipe reaches in 413 s the demo's reaches in 67, and what it reaches in 758 s in less than 123.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.plain_reconstructor import PlainReconstructor, plain_step
from pipeline.checkpoint import Checkpoint
from pipeline.config import load
from pipeline.data.images import target_images, to_unit
from pipeline.data.sources import load as load_images
from pipeline.evaluation.min_mse import min_mse
from pipeline.evaluation.rates import tpr_at_fpr
from pipeline.evaluation.victims import victims_of
from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.reconstruction.sources import ShardSource, Stream
from pipeline.reconstruction.train import class_labels, train_reconstructor
from pipeline.shadow import seeds
from pipeline.shadow.recipe import Recipe
from pipeline.statistics import Standardisation, h1_from_correlation
from stages import stage_named
from stages.plan import Plan

RECIPES = {
    "published": {"batch_size": 32, "learning_rate": 2e-4, "schedule": "constant", "warmup_steps": 0},
    **{f"demo, {steps} steps": {"steps": steps} for steps in (500, 1000, 2000, 4000, 7000)},
}
"""What each changes in the experiment's `reconstructor:` part."""


class Watch:
    """Times training without what is spent on scoring, and keeps (steps, seconds, min-MSE, AUC, TPR at FPR 1 %)."""

    def __init__(self, victims, null, name: str, every: int):
        self.victims, self.null, self.name, self.every = victims, victims.with_inputs(null), name, every
        self.rows, self.spent, self.since = [], 0.0, time.process_time()

    def score(self, network):
        self.spent += time.process_time() - self.since
        real, null = min_mse(network, self.victims), min_mse(network, self.null)
        step = self.every * (len(self.rows) + 1)
        row = (step, self.spent, real.distances.mean(), tpr_at_fpr(real.distances, null.distances, 0.01))
        self.rows.append(row)
        print(
            f"{self.name}; {step} steps; {row[1]:.0f} s; min-MSE {row[2]:.4f}; TPR at FPR 1 % {row[3]:.3f}", flush=True
        )
        self.since = time.process_time()
        return real


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--config", default="demo")
    parser.add_argument("--seconds", type=float, default=900.0, help="of training, for the published recipe")
    parser.add_argument("--set", action="append", default=[], help="change a key of every recipe")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("recipe", "steps", "seconds", "min-MSE", "TPR at FPR 1 %")
    for name in arguments.recipes:
        changes = [f"reconstructor.{key}={value}" for key, value in RECIPES[name].items()]
        for step, seconds, score, rate in run(name, load(arguments.config, changes + arguments.set), arguments.seconds):
            table.add_row(name, f"{step:,}", f"{seconds:.0f}", f"{score:.4f}", f"{rate:.3f}")
    Console(width=120).print(table)


def run(name: str, experiment, limit: float) -> list[tuple]:
    plan, device = Plan(experiment), torch.device("cpu")
    inputs = plan.read_inputs(stage_named("reconstructor"))
    statistics = inputs["weight_stats"].read("all")
    standardise = Standardisation.from_arrays(statistics, device)
    data, root, shadow, mode = (
        experiment.data,
        experiment.paths.data_root,
        experiment.shadow_models,
        experiment.modes[0],
    )
    groups_of = partial(candidate_groups, class_size=shadow.class_size, mode=mode, task=experiment.task.kind)
    watched = inputs["shadow_models"].read(seeds.WATCHED)
    victims = victims_of(data, root, watched, groups_of, standardise, device)
    null = h1_from_correlation(
        torch.as_tensor(statistics["correlation"]).double(), len(victims.inputs), torch.Generator().manual_seed(0)
    )
    images = target_images(load_images(shadow.data or data, "train", root), data.image_size)
    classes = victims.groups.shape[1] if mode == "conditional" else 0
    shape = (len(standardise.mean), data.channels, data.image_size, experiment.reconstructor.width, classes)
    network = Reconstructor(*shape)
    initialise(network, torch.Generator().manual_seed(0))
    if shadow.source == "shards":
        source = ShardSource(inputs["shadow_models"].matching("train"), watched["labels"][0], ("order",))
    else:
        recipe = Recipe.of(experiment, seeds.training_seed(0), inputs["deep_features"], device)
        source = Stream(recipe, len(standardise.kept))
    batches = ShadowBatches(source, experiment.reconstructor.batch_size, ("batches",), device).from_step
    watch = Watch(victims, null, name, experiment.reconstructor.validate_every)
    if name == "published":
        plainly(PlainReconstructor(*shape), network, batches, images, groups_of, standardise, experiment, watch, limit)
        return watch.rows
    train_reconstructor(
        network,
        batches,
        images,
        groups_of,
        standardise,
        experiment.reconstructor,
        purpose=("class",),
        perceptual=None,
        validate=watch.score,
        checkpoint=Checkpoint(Path("/nonexistent"), "", period=float("inf")),
        progress=lambda done, total, text: None,
    )
    return watch.rows


def plainly(plain, initial, batches, images, groups_of, standardise, experiment, watch, limit) -> None:
    """The published loop from the same initial weights, until the time is over."""
    plain.load_state_dict(initial.state_dict())
    settings = experiment.reconstructor
    optimizer = torch.optim.Adam(plain.parameters(), lr=settings.learning_rate)
    rows = torch.arange(settings.batch_size)
    stream, labels = batches(0), class_labels(plain.classes, settings.batch_size, ("class",), 0, images.device)
    plain.train()
    step = 0
    while watch.spent < limit:
        weights, indices = next(stream)
        label = next(labels)
        groups = groups_of(indices)
        candidates = to_unit(images[groups[rows, label] if plain.classes else groups[:, 0]])
        plain_step(plain, optimizer, standardise.apply(weights), label, candidates)
        step += 1
        if step % settings.validate_every == 0:
            watch.score(plain)
            plain.train()


if __name__ == "__main__":
    main()
