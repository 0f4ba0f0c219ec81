"""The features of every image that heads are trained on: one shard per split of a data set."""

from pathlib import Path

from pipeline import located
from pipeline.config import Experiment
from pipeline.head_inversion import lessons
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    seed, backbone = lessons.seeds_by_features(experiment)[shard], experiment.backbone
    dataset, split = seeds.data_of(experiment, seed), seeds.split_of(seed)
    described = {"data": dataset.identity(experiment.paths.data_root), "split": split, "backbone": backbone.name}
    if seed.startswith("augmented"):
        augmentation = experiment.head_inversion.augmentation.model_dump(mode="json")
        described |= {"augmentation": augmentation, "seed": experiment.seed}
    if backbone.precision != "float32":
        described["precision"] = backbone.precision
    return {**described, "weights": backbone.weights_digest()} if backbone.weights else described


def location(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    """Features are shared between experiments; those of another backbone have another name."""
    return located(experiment.paths.features) / f"{shard}-{experiment.backbone.name}-{fingerprint[:10]}.h5"


def check(experiment: Experiment) -> None:
    from pipeline.data.sources import load
    from pipeline.networks.backbones import Classifier, read_trained_weights

    if experiment.backbone.weights:
        read_trained_weights(Classifier(experiment.backbone.name, classes=1), experiment.backbone)
    for seed in (seeds.training_seed(0), seeds.VICTIMS):
        load(seeds.data_of(experiment, seed), seeds.split_of(seed), experiment.paths.data_root)


def run(work: Work) -> Result:
    """features (n, D) float32, labels (n,) int64, in the data set's order."""
    from pipeline.head_inversion.build import images_of
    from pipeline.networks.backbones import extract_features
    from pipeline.networks.stored import stored_backbone

    experiment = work.experiment
    seed = lessons.seeds_by_features(experiment)[work.shard]
    source = images_of(experiment, seed)
    classifier = stored_backbone(experiment, work.inputs)
    features = extract_features(classifier.to(work.device), source, work.progress, experiment.backbone.precision)
    return Result(
        {"features": features.numpy(), "labels": source.labels},
        {"data": seeds.data_of(experiment, seed).name, "split": seeds.split_of(seed), "images": len(source)},
    )


STAGE = Stage(
    name="deep_features",
    shards=lambda experiment: list(lessons.seeds_by_features(experiment)),
    inputs=lambda experiment: ["pretrain"],
    settings=settings,
    resources=lambda experiment: Resources("gpu", threads=2, memory_gb=4.0, seconds_per_shard=300.0),
    run=run,
    check=check,
    location=location,
    version=3,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
