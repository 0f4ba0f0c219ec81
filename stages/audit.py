"""Audit the user's own heads: which of their training images are rebuilt, and whether recipe and weights fit."""

from pipeline.config import Experiment
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    return {
        **experiment.subject.identity(),
        "seed": experiment.seed,
        "class_size": experiment.shadow_models.class_size,
        "training": experiment.shadow_models.training.identity(),
        "reconstructor": experiment.evaluation.reconstructor,
        "backbone": experiment.backbone.weights_digest() if experiment.backbone.weights else None,
    }


def inputs(experiment: Experiment) -> list[str]:
    own = f"deep_features/{seeds.features_of(experiment, seeds.VICTIMS)}"
    return ["pretrain", own, "head_inversion", "reconstructor/conditional"]


def check(experiment: Experiment) -> None:
    """Everything that can be said of the user's files without having attacked anything."""
    import numpy as np

    from pipeline.audit.held_out import parts_of
    from pipeline.audit.subject import read_heads, read_sets
    from pipeline.data.sources import load
    from pipeline.randomness import numpy_generator

    read_heads(experiment)
    read_sets(experiment)
    labels = load(experiment.data, "test", experiment.paths.data_root).labels
    none_left_out = np.zeros(len(labels), bool)
    parts_of(labels, none_left_out, experiment.shadow_models.class_size, numpy_generator("check"))


def run(work: Work) -> Result:
    """heads/<name> (H, N, …): of every head and private image what examination.Judged names; heads/class_names (H, N)
    in UTF-8 and heads/originals (H, N, C, S, S). recipe/deviations (H, 6), distance (H,): see belonging.Fit. rates/…:
    see identification.Rates."""
    import numpy as np
    import torch

    from pipeline.audit.attack import Attack
    from pipeline.audit.examination import check_recipe, judge, measure_kind
    from pipeline.audit.subject import Gallery, audited
    from pipeline.shadow.recipe import Recipe

    experiment, cpu = work.experiment, torch.device("cpu")
    purpose = (experiment.seed, "audit")
    attack = Attack.stored(experiment, work.inputs, cpu)
    recipe = Recipe.of(experiment, seeds.VICTIMS, work.inputs["deep_features"], cpu)
    heads = audited(experiment, work.inputs, cpu)
    train, test = (Gallery.of(experiment, split) for split in ("train", "test"))
    private = torch.cat([one.images for one in heads])
    kind = measure_kind(attack, recipe, train, test, private, purpose, work.progress)
    judged, fits, suspicions = [], [], []
    for number, one in enumerate(heads):
        work.progress(number, len(heads), "heads judged")
        judged.append(judge(attack, kind, train, one).arrays())
        fit, suspicion = check_recipe(experiment, one, (*purpose, "recipe"))
        fits.append(fit)
        suspicions.append(suspicion.change if suspicion else "")
    arrays = {f"heads/{name}": np.stack([one[name] for one in judged]) for name in judged[0]}
    arrays |= {
        "heads/class_names": np.stack([np.char.encode([one.names[n] for n in one.labels], "utf-8") for one in heads]),
        "heads/originals": np.stack([one.images.numpy() for one in heads]),
        "recipe/deviations": np.stack([fit.deviations for fit in fits]),
        "recipe/distance": np.array([fit.distance for fit in fits]),
    }
    arrays |= {f"rates/{name}": array for name, array in vars(kind.rates).items()}
    return Result(arrays, {"suspicions": suspicions})


STAGE = Stage(
    name="audit",
    shards=lambda experiment: ["audit"] if experiment.subject else [],
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=2, memory_gb=3.0, seconds_per_shard=60.0),
    run=run,
    check=check,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
