"""The nearest-neighbour threshold: how near the nearest training image of its class comes to an image anyway."""

from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def shards(experiment: Experiment) -> list[str]:
    """None where the experiment pins a published value."""
    wanted = experiment.data and experiment.shadow_models and experiment.evaluation.threshold is None
    return ["threshold"] if wanted else []


def run(work: Work) -> Result:
    """distances (n,): MSE in [-1, 1] of each test image to its nearest training image; per_class (K,) their means."""
    from pipeline.data.images import target_images
    from pipeline.data.sources import load
    from pipeline.evaluation.nearest_neighbour import nearest_same_class, threshold

    data, root = work.experiment.data, work.experiment.paths.data_root
    train, test = (load(data, split, root) for split in ("train", "test"))
    distances = nearest_same_class(
        target_images(test, data.image_size).to(work.device),
        test.labels,
        target_images(train, data.image_size).to(work.device),
        train.labels,
        work.progress,
    )
    value, per_class = threshold(distances, test.labels)
    return Result({"distances": distances, "per_class": per_class}, {"threshold": value})


STAGE = Stage(
    name="nearest_neighbour",
    shards=shards,
    inputs=lambda experiment: [],
    settings=lambda experiment, shard: {"data": experiment.data.identity(experiment.paths.data_root)},
    resources=lambda experiment: Resources("cpu", threads=2, memory_gb=4.0, seconds_per_shard=60.0),
    run=run,
    version=3,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
