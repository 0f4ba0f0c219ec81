"""What one shard's shadow models are trained on, for each kind of task."""

import numpy as np

from pipeline.data.deal import deal, deal_identities, most_identity_sets, random_labels
from pipeline.data.settings import Task
from pipeline.errors import UserError

OUT_OF_DISTRIBUTION_CLASSES = 10


def check_labels(task: Task, outputs: int, train: np.ndarray, test: np.ndarray) -> None:
    """Raises UserError for labels of the two splits, (n,) each, that do not belong to each other, the task or the head.

    `outputs`: the head's logits.
    """
    own, others = np.unique(train), np.unique(test)
    if len(different := np.setxor1d(own, others)):
        where = "train" if different[0] in own else "test"
        raise UserError(f"data: class {different[0]} is in the {where} split alone; both need the same classes")
    if task.kind == "multiclass" and own[-1] >= outputs:
        raise UserError(
            f"shadow_models.training.classes is {outputs}, and the data's labels go from {own[0]} to {own[-1]}: set it "
            f"to {own[-1] + 1}"
        )
    if lacking := sorted(set(task.positive) - set(own.tolist())):
        shown = ", ".join(map(str, own[:20])) + (", …" if len(own) > 20 else "")
        raise UserError(f"task.positive: there is no class {lacking[0]} in the data; they are {shown}")


def training_sets(
    labels: np.ndarray, task: Task, class_size: int, models: int, seed: int, *, foreign: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Image indices (M, N) int32, class after class, and the labels (M, N) int32 that the heads learn.

    Sets are dealt by the data's own classes, or by balanced random ones when the images are `foreign` (out of
    distribution); a binary head learns whether the class is a positive one. An identity's photos come first.
    Raises UserError when the data deal fewer models.
    """
    if task.kind == "identity":
        indices, learnt = deal_identities(labels, class_size, models, seed)
        return indices, learnt.astype(np.int32)
    if foreign:
        labels = random_labels(len(labels), OUT_OF_DISTRIBUTION_CLASSES, seed)
    indices = deal(labels, class_size, models, seed)
    dealt = labels[indices]
    return indices, (np.isin(dealt, task.positive) if task.kind == "binary" else dealt).astype(np.int32)


def most_sets(labels: np.ndarray, task: Task, class_size: int) -> int:
    """How many models one seed can deal at most."""
    if task.kind == "identity":
        return most_identity_sets(labels, class_size)
    return int(np.bincount(labels).min()) // class_size
