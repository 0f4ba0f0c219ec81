"""How good is the attack after how long? Both reconstructors on the same shadow models and the same victims.

    python -m benchmarks.time_to_quality [RECIPE …] [--seconds 900] [--set a.b=c]

`published` is the paper's recipe in the paper's own loop (tests/reference/reconstructor_training.py): Adam at 2e-4,
batch 32.
`weights` is this project's training of the same network (config_data/demo_weights.yml), `features` the one that reads
what head inversion recovers (config_data/demo.yml); its seconds include learning to invert. A cosine schedule ends
where its steps end, so these are run once for every length. Scores are those of the watched victims, real ones (H0)
and weights that saw none of their images (H1); they are not the victims that the demo reports on. Shadow models,
statistics and the inversion must be there (`python -m jobs run demo --only …`, stage by stage).
Seconds are CPU time of the one thread that trains, so that who else is at work counts less.

Measured on one core of an AMD EPYC (AVX-512 with bfloat16, other work beside it), torch 2.15; at the end of the steps
(published and weights: of an earlier day, against 100 watched victims; features: 21, sharing no image with the scored):

    recipe                       steps    seconds   min-MSE     AUC   TPR at FPR 1 %
    published                    6,000        413     0.180             0.02
    published                   11,000        758     0.160             0.05
    weights                      1,000         67     0.180             0.03
    weights                      2,000        123     0.155             0.06
    weights                      7,000        450     0.115    0.88     0.15
    features                       200        116     0.144   0.780     0.07
    features                       500        127     0.090   0.920     0.11
    features                     1,500        164     0.064   0.963     0.30
    features, published network  1,500        155     0.070   0.955     0.13

108 s of these are learning to invert. Tried for the decoder on full MNIST and the published VGG-tiny, 60 s of one core
each, min-MSE on held-out training images: fully connected with bfloat16 0.068 (squared error alone), 0.069 (a third of
it absolute), 0.073 (half, as published); in float32 0.091; residual layers with LayerNorm 0.075; fully connected into
convolutions at 8×8 and 16×16 0.076; the published network, width 16, float32, 0.084; Muon 0.146. Augmented copies
resampled bilinearly made it worse (0.065 for 0.063 after 120 s), bicubically better (0.059).
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pipeline.config import load
from pipeline.data.images import target_images, to_unit
from pipeline.evaluation.curves import auc, empirical_tpr
from pipeline.evaluation.min_mse import min_mse
from pipeline.evaluation.victims import victims_of
from pipeline.head_inversion import lessons
from pipeline.head_inversion.build import images_of
from pipeline.head_inversion.settings import inverts_heads
from pipeline.networks import decoders
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.reconstruction.examples import feature_examples, weight_examples
from pipeline.reconstruction.reader import reader_of
from pipeline.reconstruction.settings import modes
from pipeline.reconstruction.sources import HEADS, WEIGHTS, training_source
from pipeline.reconstruction.train import Lesson, train_reconstructor
from pipeline.shadow import seeds
from pipeline.statistics import h1_from_correlation
from stages import stage_named
from stages.plan import Plan
from tests.reference.reconstructor_training import PlainReconstructor, plain_step

LENGTHS = {"weights": (1000, 2000, 7000), "features": (200, 500, 1500)}
EXPERIMENTS = {"weights": "demo_weights", "features": "demo"}
RECIPES = {
    "published": ("demo_weights", {"batch_size": 32, "learning_rate": 2e-4, "schedule": "constant", "warmup_steps": 0}),
    **{
        f"{reads}, {steps} steps": (EXPERIMENTS[reads], {"steps": steps, "validate_every": steps})
        for reads, lengths in LENGTHS.items()
        for steps in lengths
    },
    "features, published network": (
        "demo",
        {
            "network": "published",
            "width": 16,
            "batch_size": 60,
            "steps": 1500,
            "learning_rate": 4e-3,
            "validate_every": 1500,
        },
    ),
}
"""The experiment of each, and what it changes in its `reconstructor:` part."""


class Watch:
    """Times training without what is spent on scoring, and keeps (steps, seconds, min-MSE, AUC, TPR at FPR 1 %)."""

    def __init__(self, victims, null, name: str, every: int, spent: float):
        self.victims, self.null, self.name, self.every = victims, victims.with_reading(null), name, every
        self.rows, self.spent, self.since = [], spent, time.process_time()

    def score(self, network):
        self.spent += time.process_time() - self.since
        real, null = min_mse(network, self.victims), min_mse(network, self.null)
        step = self.every * (len(self.rows) + 1)
        found = empirical_tpr(real.distances, null.distances, np.array([0.01]))
        rates = auc(real.distances, null.distances), float(found[0])
        self.rows.append((step, self.spent, real.distances.mean(), *rates))
        shown = f"min-MSE {real.distances.mean():.4f}; AUC {rates[0]:.3f}; TPR at FPR 1 % {rates[1]:.3f}"
        print(f"{self.name}; {step} steps; {self.spent:.0f} s; {shown}", flush=True)
        self.since = time.process_time()
        return real


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--seconds", type=float, default=900.0, help="of training, for the published recipe")
    parser.add_argument("--set", action="append", default=[], help="change a key of every recipe")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("recipe", "steps", "seconds", "min-MSE", "AUC", "TPR at FPR 1 %")
    for name in arguments.recipes:
        config, changed = RECIPES[name]
        changes = [f"reconstructor.{key}={value}" for key, value in changed.items()]
        for step, seconds, *scores in run(name, load(config, changes + arguments.set), arguments.seconds):
            table.add_row(name, f"{step:,}", f"{seconds:.0f}", *(f"{score:.3f}" for score in scores))
    Console(width=120).print(table)


def run(name: str, experiment, limit: float) -> list[tuple]:
    plan, device = Plan(experiment), torch.device("cpu")
    inputs = dict(plan.read_inputs(stage_named("reconstructor")))
    statistics = plan.finished(stage_named("weight_stats"))
    shadow, data, settings = experiment.shadow_models, experiment.data, experiment.reconstructor
    mode, root = modes(experiment)[0], experiment.paths.data_root
    groups_of = partial(candidate_groups, class_size=shadow.class_size, mode=mode, task=experiment.task.kind)
    watched = inputs["shadow_models"].read(seeds.WATCHED)
    reader = reader_of(experiment, mode, inputs | {"weight_stats": statistics}, watched, device)
    victims = victims_of(data, root, watched, groups_of, reader, device)
    correlation = torch.as_tensor(statistics.read("all")["correlation"]).double()
    null = h1_from_correlation(correlation, len(victims), torch.Generator().manual_seed(0))
    images = target_images(images_of(experiment, lessons.first_seed(experiment)), data.image_size)
    shape = (reader.width, data.channels, data.image_size, settings.width, reader.classes)
    network = decoders.build(settings.network, *shape)
    decoders.initialise(network, torch.Generator().manual_seed(0))
    spent, columns, models = 0.0, WEIGHTS, settings.batch_size
    if inverts_heads(experiment):
        columns, models = HEADS, settings.batch_size // watched["labels"].shape[1]
        record = inputs["head_inversion"].attributes("inversion")
        spent = float(record["wall_seconds"]) * int(record["threads"])
    source = training_source(experiment, inputs, watched["labels"][0], ("order",), device, columns=columns)
    batches = ShadowBatches(source, models, ("batches",), device).from_step
    if inverts_heads(experiment):
        examples = feature_examples(batches, reader.inversion)
    else:
        examples = weight_examples(batches, reader.standardise, groups_of, reader.classes, models, ("class",))
    watch = Watch(victims, reader.read_standardised(null), name, settings.validate_every, spent)
    if name == "published":
        plainly(PlainReconstructor(*shape), network, examples, images, experiment, watch, limit)
        return watch.rows
    train_reconstructor(Lesson(network, examples, images, settings, watch.score))
    return watch.rows


def plainly(plain, initial, examples, images, experiment, watch, limit) -> None:
    """The published loop from the same initial weights, until the time is over."""
    plain.load_state_dict(initial.state_dict())
    settings = experiment.reconstructor
    optimizer = torch.optim.Adam(plain.parameters(), lr=settings.learning_rate)
    stream = examples(0)
    plain.train()
    step = 0
    while watch.spent < limit:
        shown = next(stream)
        plain_step(plain, optimizer, shown.inputs, shown.label, to_unit(images[shown.candidates]))
        step += 1
        if step % settings.validate_every == 0:
            watch.score(plain)
            plain.train()


if __name__ == "__main__":
    main()
