"""The permutation seeds of an experiment: what each is called, what it is dealt from and what its models depend on.

`train-<seed>` teach the reconstructor; `augmented-<seed>`, never in files, does so where head inversion learns from
augmented copies of the images too. `test-00000` holds the victims that are scored, the first sets that its seed deals
from the test split; with several test seeds `test-00001` … hold as many of other deals of the same images.
`watch-00001` holds the last sets of the deal of seed 0, for looking on while training, so that nothing is chosen by the
victims that are scored, nor by their images (identities: persons) unless so many are scored that none are left over, or
several seeds deal them all.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.settings import DataSet, Task
from pipeline.data.training_sets import most_sets, training_sets

if TYPE_CHECKING:
    from pipeline.config import Experiment

VICTIMS, WATCHED = "test-00000", "watch-00001"
MOST_WATCHED, WATCHED_SHARE = 100, 8
"""Watched victims are an eighth of all sets that the test split deals, or those about an eighth of its persons; at most
a hundred."""


def training_seed(seed: int) -> str:
    return f"train-{seed:05d}"


def augmented_seed(seed: int) -> str:
    return f"augmented-{seed:05d}"


def scored(experiment: "Experiment") -> list[str]:
    """The seeds whose victims are scored."""
    return [f"test-{seed:05d}" for seed in range(experiment.shadow_models.test_seeds)]


def is_training(shard: str) -> bool:
    """Whether a seed deals the adversary's own images."""
    return shard.startswith(("train", "augmented"))


def split_of(shard: str) -> str:
    """The data's split that a seed deals."""
    return "train" if is_training(shard) else "test"


def is_foreign(experiment: "Experiment", shard: str) -> bool:
    """Whether a shard's images come from out of distribution, and so are dealt by random labels."""
    return is_training(shard) and experiment.shadow_models.data is not None


def data_of(experiment: "Experiment", shard: str) -> DataSet:
    return experiment.shadow_models.data if is_foreign(experiment, shard) else experiment.data


def models_in(experiment: "Experiment", shard: str) -> int:
    shadow = experiment.shadow_models
    if is_training(shard):
        return shadow.models_per_seed
    return MOST_WATCHED if shard == WATCHED else shadow.test_models


def features_of(experiment: "Experiment", shard: str) -> str:
    """The shard of deep_features that holds the images a shard's models are trained on."""
    augmented = "-augmented" if shard.startswith("augmented") else ""
    return f"{data_of(experiment, shard).title}-{split_of(shard)}{augmented}"


def identity(experiment: "Experiment", shard: str) -> dict:
    """What the models of a shard depend on, besides features and their labels."""
    shadow = experiment.shadow_models
    reserved = {"reserved": "persons"} if shard == WATCHED and experiment.task.kind == "identity" else {}
    return reserved | {
        "seed": experiment.seed,
        "task": experiment.task.model_dump(mode="json"),
        "class_size": shadow.class_size,
        "models": models_in(experiment, shard),
        "foreign": is_foreign(experiment, shard),
        "training": shadow.training.identity(),
    }


def deal(experiment: "Experiment", shard: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices, labels) (M, N) of the training sets that the shard's permutation seed deals from a split's labels."""
    if shard == WATCHED:
        return _watched(labels, experiment.task, experiment.shadow_models.class_size)
    seed, class_size = int(shard.partition("-")[2]), experiment.shadow_models.class_size
    models, foreign = models_in(experiment, shard), is_foreign(experiment, shard)
    return training_sets(labels, experiment.task, class_size, models, seed, foreign=foreign)


def _watched(labels: np.ndarray, task: Task, class_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The last sets of all that seed 0 deals; of identities, those about the last persons whom it comes to."""
    whole = training_sets(labels, task, class_size, most_sets(labels, task, class_size), 0, foreign=False)
    rows = np.arange(len(whole[0]))
    about = labels[whole[0][:, 0]] if task.kind == "identity" else rows
    persons, first = np.unique(about, return_index=True)
    last = persons[np.argsort(first)][-max(1, len(persons) // WATCHED_SHARE) :]
    chosen = rows[np.isin(about, last)][-MOST_WATCHED:]
    return tuple(table[chosen] for table in whole)


def deal_scored(experiment: "Experiment", labels: np.ndarray) -> np.ndarray:
    """Indices (V, N) of the training sets of all victims that are scored, seed after seed."""
    return np.concatenate([deal(experiment, shard, labels)[0] for shard in scored(experiment)])


def inputs(experiment: "Experiment") -> list[str]:
    """What a stage reads for the training seeds: their shards, or the features that a stream is made from."""
    if experiment.shadow_models.source == "shards":
        return ["shadow_models/train"]
    return [f"deep_features/{features_of(experiment, training_seed(0))}"]


def stream_identity(experiment: "Experiment") -> dict:
    """What a stage's result depends on when no shard stands for the training seeds; nothing when shards do."""
    if experiment.shadow_models.source == "shards":
        return {}
    return {"stream": {**identity(experiment, training_seed(0)), "seeds": experiment.shadow_models.seeds}}
