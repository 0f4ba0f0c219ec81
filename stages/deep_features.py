"""The features of every image that heads are trained on: one shard per split of a data set."""

from pathlib import Path

from pipeline import located
from pipeline.config import Experiment
from pipeline.data.settings import DataSet
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def splits(experiment: Experiment) -> dict[str, tuple[DataSet, str]]:
    """Shard → (data set, split): what shadow models train on, and the test split that victims come from."""
    if not experiment.shadow_models:
        return {}
    training = experiment.shadow_models.data or experiment.data
    return {f"{training.title}-train": (training, "train"), f"{experiment.data.title}-test": (experiment.data, "test")}


def settings(experiment: Experiment, shard: str) -> dict:
    dataset, split = splits(experiment)[shard]
    backbone = experiment.backbone
    described = {"data": dataset.identity(), "split": split, "backbone": backbone.name}
    return {**described, "weights": backbone.weights_digest()} if backbone.weights else described


def location(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    """Features are shared between experiments; those of another backbone have another name."""
    return located(experiment.paths.features) / f"{shard}-{experiment.backbone.name}-{fingerprint[:10]}.h5"


def check(experiment: Experiment) -> None:
    from pipeline.data.sources import load

    for dataset, split in splits(experiment).values():
        load(dataset, split, experiment.paths.data_root)


def run(work: Work) -> Result:
    """features (n, D) float32, labels (n,) int64, in the data set's order."""
    import torch

    from pipeline.data.sources import load
    from pipeline.networks.backbones import Classifier, extract_features, load_trained_weights
    from pipeline.networks.state import state_dict

    experiment = work.experiment
    dataset, split = splits(experiment)[work.shard]
    source = load(dataset, split, experiment.paths.data_root)
    classifier = Classifier(experiment.backbone.name, classes=1)
    if experiment.backbone.weights:
        path = located(experiment.backbone.weights)
        load_trained_weights(classifier, torch.load(path, map_location="cpu", weights_only=True), str(path))
    else:
        shard = work.inputs["pretrain"].names[0]
        load_trained_weights(classifier, state_dict(work.inputs["pretrain"].read(shard)), shard)
    features = extract_features(classifier.to(work.device), source, work.progress)
    return Result(
        {"features": features.numpy(), "labels": source.labels},
        {"data": dataset.name, "split": split, "images": len(source)},
    )


STAGE = Stage(
    name="deep_features",
    shards=lambda experiment: list(splits(experiment)),
    inputs=lambda experiment: ["pretrain"],
    settings=settings,
    resources=lambda experiment: Resources("gpu", threads=2, memory_gb=4.0, seconds_per_shard=300.0),
    run=run,
    check=check,
    location=location,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
