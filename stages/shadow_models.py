"""Train the shadow models: each shard is one permutation seed, which deals the data into disjoint training sets."""

from dataclasses import asdict

from pipeline.config import Experiment
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def shards(experiment: Experiment) -> list[str]:
    """The training seeds, unless they are streamed; the victims of each test seed; and those watched while training."""
    shadow = experiment.shadow_models
    if not shadow:
        return []
    training = range(shadow.seeds) if shadow.source == "shards" else ()
    return [*map(seeds.training_seed, training), *seeds.scored(experiment), seeds.WATCHED]


def check(experiment: Experiment) -> None:
    from pipeline.data.sets.own import check_classes
    from pipeline.data.sources import load
    from pipeline.data.training_sets import check_labels

    task, shadow = experiment.task, experiment.shadow_models
    if task.kind != "identity":  # people who are held out are others
        check_classes(experiment.data)
    labels = {}
    for shard in (seeds.training_seed(0), seeds.VICTIMS):
        labels[shard] = load(seeds.data_of(experiment, shard), seeds.split_of(shard), experiment.paths.data_root).labels
    if task.kind != "identity" and shadow.data is None:
        check_labels(task, shadow.training.classes, *labels.values())
    for shard, own in labels.items():
        seeds.deal(experiment, shard, own)


def run(work: Work) -> Result:
    """weights (M, P); indices (M, N) int32 of the images that trained each; labels (M, N) int32 that they had;
    coefficients (M, R, N): C of first-layer weights α W'_0 + C X', where training keeps to that form."""
    from pipeline.shadow.recipe import Recipe

    recipe = Recipe.of(work.experiment, work.shard, work.inputs["deep_features"], work.device)
    made = recipe.make(work.shard)
    facts = {"models": made.weights.shape[0], "parameters": made.weights.shape[1]}
    if private := work.experiment.shadow_models.training.private:
        from pipeline.shadow.accountant import guarantee

        facts |= asdict(guarantee(private, made.indices.shape[1]))
    arrays = {"weights": made.weights.cpu().numpy(), "indices": made.indices, "labels": made.labels}
    if made.coefficients is not None:
        arrays["coefficients"] = made.coefficients.cpu().numpy()
    return Result(arrays, facts)


STAGE = Stage(
    name="shadow_models",
    shards=shards,
    inputs=lambda experiment: ["deep_features"],
    settings=seeds.identity,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=4.0, seconds_per_shard=3.0),
    run=run,
    check=check,
    version=4,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
