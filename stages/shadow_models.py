"""Train the shadow models: each shard is one permutation seed, which deals the data into disjoint training sets."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from pipeline.config import Experiment
from pipeline.store import Result, read_arrays
from stages.command import main
from stages.stage import Resources, Stage, Work


def shards(experiment: Experiment) -> list[str]:
    """`train-<seed>` teach the reconstructor; `test-<seed>`, from the test split, hold its victims."""
    shadow = experiment.shadow_models
    if not shadow:
        return []
    return [f"train-{seed:05d}" for seed in range(shadow.seeds)] + ["test-00000"]


def settings(experiment: Experiment, shard: str) -> dict:
    shadow = experiment.shadow_models
    return {
        "seed": experiment.seed,
        "task": experiment.task.model_dump(mode="json"),
        "class_size": shadow.class_size,
        "models": models_in(experiment, shard),
        "foreign": is_foreign(experiment, shard),
        "training": shadow.training.model_dump(mode="json"),
    }


def models_in(experiment: Experiment, shard: str) -> int:
    shadow = experiment.shadow_models
    return shadow.models_per_seed if shard.startswith("train") else shadow.test_models


def is_foreign(experiment: Experiment, shard: str) -> bool:
    """Whether a shard's images come from out of distribution, and so are dealt by random labels."""
    return shard.startswith("train") and experiment.shadow_models.data is not None


@lru_cache(maxsize=2)
def read_once(path: Path, written: int):
    """Features and labels, kept for the next shard that this process makes: for CIFAR-10 they are 256 MB."""
    return read_arrays(path, "features", "labels")


def features_of(experiment: Experiment, shard: str) -> str:
    """The shard of deep_features that holds the images a shard's models are trained on."""
    if shard.startswith("test"):
        return f"{experiment.data.title}-test"
    return f"{(experiment.shadow_models.data or experiment.data).title}-train"


def deal(experiment: Experiment, shard: str, labels):
    """(indices, labels) of the training sets that the shard's permutation seed deals from a split's labels."""
    from pipeline.data.training_sets import training_sets

    seed, class_size = int(shard.partition("-")[2]), experiment.shadow_models.class_size
    models, foreign = models_in(experiment, shard), is_foreign(experiment, shard)
    return training_sets(labels, experiment.task, class_size, models, seed, foreign=foreign)


def check(experiment: Experiment) -> None:
    from pipeline.data.sources import load

    for shard, dataset in (("train-0", experiment.shadow_models.data), ("test-0", None)):
        split = shard.partition("-")[0]
        deal(experiment, shard, load(dataset or experiment.data, split, experiment.paths.data_root).labels)


def run(work: Work) -> Result:
    """weights (M, P); indices (M, N) int32 of the images that trained each; labels (M, N) int32 that they had."""
    import torch

    from pipeline.randomness import torch_generator
    from pipeline.shadow.train import train_shard

    experiment = work.experiment
    path = work.inputs["deep_features"].paths[features_of(experiment, work.shard)]
    table = read_once(path, path.stat().st_mtime_ns)
    indices, labels = deal(experiment, work.shard, table["labels"])
    features, chosen, learnt = (
        torch.as_tensor(array).to(work.device) for array in (table["features"], indices, labels)
    )
    generator = torch_generator(experiment.seed, "shadow_models", work.shard, device=work.device)
    weights = train_shard(features, chosen, learnt, experiment.shadow_models.training, generator)
    facts = {"models": len(weights), "parameters": weights.shape[1]}
    if private := experiment.shadow_models.training.private:
        from pipeline.shadow.accountant import guarantee

        facts |= asdict(guarantee(private, indices.shape[1]))
    return Result({"weights": weights.cpu().numpy(), "indices": indices, "labels": labels}, facts)


STAGE = Stage(
    name="shadow_models",
    shards=shards,
    inputs=lambda experiment: ["deep_features"],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=4.0, seconds_per_shard=3.0),
    run=run,
    check=check,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
