"""KKT reconstruction as an attack: training images from the weights of a network trained to (near) zero loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.attack import Attack, Finished, Part, Reader
from pipeline.kkt.settings import Kkt

if TYPE_CHECKING:
    from pipeline.config import Experiment
    from pipeline.report.page import Chapter
    from pipeline.report.table import Table
    from pipeline.store import Shards

VICTIM, SEARCH, ANALYSIS = "kkt_victim", "kkt_attack", "kkt_analysis"


def refuse(experiment: "Experiment") -> None:
    kkt, data = experiment.kkt, experiment.data
    if kkt and kkt.problem.is_toy == (data is not None):
        need = "draws its own images; leave out the part data" if data else "needs the part data"
        raise ValueError(f"kkt.problem.labels: {kkt.problem.labels} {need}")


def is_made(experiment: "Experiment") -> bool:
    """A victim alone may be asked for, with no attack on it."""
    return experiment.kkt is not None and experiment.kkt.attack is not None


def describe(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> list[str]:
    kkt = experiment.kkt
    return [
        f"{kkt.problem.labels.replace('_', ' ')} ({kkt.problem.kind})",
        f"{kkt.problem.images_per_class} images a class",
        f"{kkt.search.trials} trials of {kkt.attack.candidates or 'separated'} candidates",
    ]


def shown(experiment: "Experiment") -> dict[str, Any]:
    return experiment.kkt.analysis.model_dump(include={"sheet", "sort_by"})


def chapter(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> "Chapter":
    from pipeline.kkt.report.chapter import chapter
    from pipeline.kkt.report.findings import findings

    analysis = experiment.kkt.analysis
    return chapter(findings(inputs[VICTIM], inputs[ANALYSIS]), inputs[SEARCH], analysis.sheet, analysis.sort_by)


def summarise(finished: Sequence[Finished]) -> "Table":
    """One row per experiment: a sentence that says how many training images were recovered."""
    from pipeline.kkt.report.findings import answer, findings
    from pipeline.report.table import Table

    rows = []
    for one in finished:
        found = findings(one.shards_of(VICTIM), one.shards_of(ANALYSIS))
        rows.append([one.experiment.title, one.experiment.kkt.problem.labels, answer(found)])
    return Table(["experiment", "problem", "KKT reconstruction"], rows, "kkt")


def readers() -> dict[str, Reader]:
    from pipeline.kkt.published import reconstructions

    return {SEARCH: Reader(reconstructions, ("candidates", "multipliers"))}


ATTACK = Attack(
    name="kkt",
    parts={"kkt": Part(Kkt)},
    stages=(VICTIM, SEARCH, ANALYSIS),
    is_made=is_made,
    refuse=refuse,
    describe=describe,
    shown=shown,
    chapter=chapter,
    summarise=summarise,
    readers=readers,
)
