"""Gradient inversion as an attack: images from the gradient of one training step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.attack import Attack, Finished, Part
from pipeline.gradient_inversion.settings import GradientInversion

if TYPE_CHECKING:
    from pipeline.config import Experiment
    from pipeline.report.page import Chapter
    from pipeline.report.table import Table
    from pipeline.store import Shards

STAGE = "gradient_inversion"


def refuse(experiment: "Experiment") -> None:
    if experiment.gradient_inversion and not experiment.data:
        raise ValueError("gradient_inversion needs the part data")


def describe(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> list[str]:
    settings = experiment.gradient_inversion
    return [
        f"{len(settings.chosen)} images in batches of {settings.batch_size}",
        f"network {settings.network.name}",
    ]


def chapter(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> "Chapter":
    from pipeline.gradient_inversion.chapter import chapter, outcomes

    found = outcomes(inputs[STAGE], experiment.gradient_inversion.attacks)
    return chapter(found, experiment.evaluation.sheet_victims)


def summarise(finished: Sequence[Finished]) -> "Table":
    """What every attack on gradients recovered."""
    from pipeline.gradient_inversion.chapter import COLUMNS, outcomes, summary_row
    from pipeline.report.table import Table

    rows = []
    for one in finished:
        found = outcomes(one.shards_of(STAGE), one.experiment.gradient_inversion.attacks)
        rows += [[one.experiment.title, *summary_row(attack, *outcome)] for attack, outcome in found.items()]
    return Table(["experiment", *COLUMNS], rows, "gradient_inversion")


ATTACK = Attack(
    name="gradient_inversion",
    parts={"gradient_inversion": Part(GradientInversion)},
    stages=(STAGE,),
    is_made=lambda experiment: experiment.gradient_inversion is not None,
    refuse=refuse,
    describe=describe,
    chapter=chapter,
    summarise=summarise,
)
