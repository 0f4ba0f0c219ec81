"""Membership inference as an attack: which images were in the training set of a transfer-learned head."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.attack import Attack, Finished, Part
from pipeline.membership.settings import Membership

if TYPE_CHECKING:
    from pipeline.config import Experiment
    from pipeline.report.page import Chapter
    from pipeline.report.table import Table
    from pipeline.store import Shards


def refuse(experiment: "Experiment") -> None:
    if experiment.membership and not experiment.shadow_models:
        raise ValueError("membership needs the part shadow_models")


def chapter(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> "Chapter":
    """Beside reconstruction of the same victims, where the experiment makes it."""
    from pipeline.membership.chapter import chapter as told

    (shard,) = inputs["membership"].names
    found, settings = inputs["membership"].read(shard), experiment.membership
    rated = {mode: inputs["roc"].read(mode) for mode in inputs["roc"].names} if "roc" in inputs else {}
    nulls = [null for null in ("other_victims", "minus_one") if f"{settings.attacks[0]}/{null}/auc" in found]
    facts = inputs["membership"].attributes(shard)
    return told(found, facts, settings.attacks, nulls, rated, settings.shadows)


def summarise(finished: Sequence[Finished]) -> "Table":
    """One row per experiment and attack: its rates against the weights of other victims."""
    from pipeline.membership.chapter import comparison

    return comparison(finished)


ATTACK = Attack(
    name="membership",
    parts={"membership": Part(Membership)},
    stages=("membership",),
    is_made=lambda experiment: experiment.membership is not None,
    refuse=refuse,
    chapter=chapter,
    summarise=summarise,
    curves=("AUC", "TPR at FPR 1 %"),
)
