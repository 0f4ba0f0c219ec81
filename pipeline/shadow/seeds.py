"""The permutation seeds of an experiment: what each is called, what it is dealt from and what its models depend on.

`train-<seed>` teach the reconstructor; `augmented-<seed>`, never in files, does so where head inversion learns from
augmented copies of the images too. `test-00000` holds the victims that are scored, the first sets that its seed deals
from the test split; `watch-00001` holds the last sets of the same deal, for looking on while training, so that nothing
is chosen by the victims that are scored, nor by their images unless so many are scored that none are left over.
"""

import numpy as np

from pipeline.config import Experiment
from pipeline.data.settings import DataSet
from pipeline.data.training_sets import training_sets

VICTIMS, WATCHED = "test-00000", "watch-00001"
MOST_WATCHED, WATCHED_SHARE = 100, 8
"""Watched victims are an eighth of all sets that the test split deals, and at most a hundred."""


def training_seed(seed: int) -> str:
    return f"train-{seed:05d}"


def augmented_seed(seed: int) -> str:
    return f"augmented-{seed:05d}"


def is_training(shard: str) -> bool:
    """Whether a seed deals the adversary's own images."""
    return shard.startswith(("train", "augmented"))


def split_of(shard: str) -> str:
    """The data's split that a seed deals."""
    return "train" if is_training(shard) else "test"


def is_foreign(experiment: Experiment, shard: str) -> bool:
    """Whether a shard's images come from out of distribution, and so are dealt by random labels."""
    return is_training(shard) and experiment.shadow_models.data is not None


def data_of(experiment: Experiment, shard: str) -> DataSet:
    return experiment.shadow_models.data if is_foreign(experiment, shard) else experiment.data


def models_in(experiment: Experiment, shard: str) -> int:
    shadow = experiment.shadow_models
    if is_training(shard):
        return shadow.models_per_seed
    return shadow.test_models if shard == VICTIMS else MOST_WATCHED


def features_of(experiment: Experiment, shard: str) -> str:
    """The shard of deep_features that holds the images a shard's models are trained on."""
    augmented = "-augmented" if shard.startswith("augmented") else ""
    return f"{data_of(experiment, shard).title}-{split_of(shard)}{augmented}"


def identity(experiment: Experiment, shard: str) -> dict:
    """What the models of a shard depend on, besides features and their labels."""
    shadow = experiment.shadow_models
    return {
        "seed": experiment.seed,
        "task": experiment.task.model_dump(mode="json"),
        "class_size": shadow.class_size,
        "models": models_in(experiment, shard),
        "foreign": is_foreign(experiment, shard),
        "training": shadow.training.identity(),
    }


def deal(experiment: Experiment, shard: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices, labels) (M, N) of the training sets that the shard's permutation seed deals from a split's labels."""
    seed, class_size = int(shard.partition("-")[2]), experiment.shadow_models.class_size
    models, foreign = models_in(experiment, shard), is_foreign(experiment, shard)
    if shard == WATCHED and experiment.task.kind != "identity":
        most = np.bincount(labels).min() // class_size
        whole = training_sets(labels, experiment.task, class_size, most, 0, foreign=False)
        watched = min(models, max(1, most // WATCHED_SHARE))
        return tuple(np.ascontiguousarray(table[-watched:]) for table in whole)
    if shard == WATCHED:
        models = min(models, experiment.shadow_models.test_models)
    return training_sets(labels, experiment.task, class_size, models, seed, foreign=foreign)


def inputs(experiment: Experiment) -> list[str]:
    """What a stage reads for the training seeds: their shards, or the features that a stream is made from."""
    if experiment.shadow_models.source == "shards":
        return ["shadow_models/train"]
    return [f"deep_features/{features_of(experiment, training_seed(0))}"]


def learnt_from(experiment: Experiment) -> str:
    """The first of the seeds that teach to invert heads and to decode: of augmented images where there are such."""
    augmented = experiment.inverts_heads and experiment.head_inversion.augmentation
    return augmented_seed(0) if augmented else training_seed(0)


def lessons(experiment: Experiment) -> list[str]:
    """What a stage that learns from shadow models reads for them."""
    first = learnt_from(experiment)
    return inputs(experiment) if first.startswith("train") else [f"deep_features/{features_of(experiment, first)}"]


def lessons_identity(experiment: Experiment) -> dict:
    """What its result depends on besides."""
    first = learnt_from(experiment)
    return stream_identity(experiment) if first.startswith("train") else {"stream": identity(experiment, first)}


def stream_identity(experiment: Experiment) -> dict:
    """What a stage's result depends on when no shard stands for the training seeds; nothing when shards do."""
    if experiment.shadow_models.source == "shards":
        return {}
    return {"stream": {**identity(experiment, training_seed(0)), "seeds": experiment.shadow_models.seeds}}
