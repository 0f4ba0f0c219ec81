"""The page that answers the experiment's question, with its tables and pictures as files beside it."""

from typing import TYPE_CHECKING

from pipeline.config import Experiment
from pipeline.store import Result, Shards
from stages import NAMES
from stages.command import main
from stages.stage import Resources, Stage, Work, in_point_directory

if TYPE_CHECKING:
    from pipeline.report.page import Chapter, Section

PAGES_APART = ("report", "audit", "card")
"""Of a user's own model the card tells: the experiment's report does not wait for it."""


def work_table(inputs: dict[str, Shards]):
    """What each stage took: shards, hours of wall time, devices and hosts, from the shards' own attributes."""
    from pipeline.report.page import Table

    rows = []
    for stage, shards in inputs.items():
        records = [shards.attributes(shard) for shard in shards.names]
        seconds = sum(float(record["wall_seconds"]) for record in records)
        devices = ", ".join(sorted({str(record["device"]) for record in records}))
        hosts = len({str(record["host"]) for record in records})
        rows.append([stage, len(records), f"{seconds:.1f}", f"{seconds / len(records):.2f}", devices, hosts])
    return Table(["stage", "shards", "seconds", "seconds a shard", "device", "hosts"], rows, "work")


def reconstruction_chapters(work: Work) -> list["Chapter"]:
    from pipeline.data.images import target_images
    from pipeline.data.sources import load
    from pipeline.report.reconstructor import Outcome, chapter

    experiment, data, inputs = work.experiment, work.experiment.data, work.inputs
    images = target_images(load(data, "test", experiment.paths.data_root), data.image_size).numpy()
    chapters = []
    for mode in inputs["roc"].names:
        said, scores = inputs["roc"].attributes(mode), inputs["min_mse"].read(mode)
        outcome = Outcome(
            mode=mode,
            scores=scores,
            roc=inputs["roc"].read(mode),
            threshold=float(said["threshold"]),
            pinned=bool(said["threshold_pinned"]),
            main_null=str(said["null"]),
            said_of_lpips=str(inputs["min_mse"].attributes(mode)["lpips"]),
        )
        chapters.append(chapter(outcome, images, experiment.evaluation.sheet_victims))
    return chapters


def recovered_sections(work: Work) -> list["Section"]:
    """What inverting the heads recovered, where the reconstructor reads that."""
    from pipeline.report.head_inversion import section

    if "head_inversion" not in work.inputs:
        return []
    facts = work.inputs["head_inversion"].attributes("inversion")
    found = []
    for mode in work.inputs["min_mse"].names:
        scores = work.inputs["min_mse"].read(mode)
        if "features/found" in scores:
            found.append(section(scores, facts, float(work.inputs["roc"].attributes(mode)["threshold"]), mode))
    return found


def threshold_section(work: Work) -> "Section":
    """The nearest-neighbour threshold, class by class."""
    from pipeline.report.page import Section
    from pipeline.report.table import Table

    per_class = work.inputs["nearest_neighbour"].read("threshold", "per_class")["per_class"]
    rows = [["all classes", f"{per_class.mean():.4f}"], *([f"class {k}", f"{v:.4f}"] for k, v in enumerate(per_class))]
    text = "Mean MSE, in [-1, 1], from a test image to the nearest training image of its class; averaged over classes."
    return Section("Nearest-neighbour threshold", text, [Table(["of", "threshold"], rows, "threshold")])


def imported_parts(inputs: dict[str, Shards]) -> list[str]:
    """What of the work was brought in from elsewhere, from the shards' own attributes."""
    found = []
    for stage, shards in inputs.items():
        origins = sorted(
            {str(record["imported"]) for record in map(shards.attributes, shards.names) if "imported" in record}
        )
        found += [f"{stage} was not made here but imported from {origin}" for origin in origins]
    return found


def inversion_chapter(work: Work) -> "Chapter":
    from pipeline.report.gradient_inversion import chapter, outcomes

    experiment = work.experiment
    found = outcomes(work.inputs["gradient_inversion"], experiment.gradient_inversion.attacks)
    return chapter(found, experiment.evaluation.sheet_victims)


def kkt_chapter(work: Work) -> "Chapter":
    from pipeline.report.kkt.chapter import chapter
    from pipeline.report.kkt.findings import findings

    asked = work.experiment.kkt.analysis
    return chapter(findings(work.inputs), work.inputs["kkt_attack"], asked.sheet, asked.sort_by)


def run(work: Work) -> Result:
    """index.html; every table as CSV, Markdown and arrays (<table>/<column>); every picture as PNG and PDF."""
    import yaml

    from pipeline.report.page import Section, render
    from pipeline.store import software

    experiment = work.experiment
    chapters = reconstruction_chapters(work) if experiment.reconstructor else []
    if experiment.gradient_inversion:
        chapters.append(inversion_chapter(work))
    if "kkt_analysis" in work.inputs:
        chapters.append(kkt_chapter(work))
    configuration = experiment.model_dump(mode="json", exclude={"paths", "source", "overrides"}, exclude_none=True)
    imported = [f"{part}." for part in imported_parts(work.inputs)]
    sections = [
        *(chapter.section for chapter in chapters),
        *recovered_sections(work),
        *([threshold_section(work)] if "nearest_neighbour" in work.inputs else []),
        Section(
            "Work",
            f"Commit {software()['git_commit']}, {software()['packages']}.",
            [work_table(work.inputs)],
            warnings=imported,
        ),
        Section("Configuration", preformatted=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)),
    ]
    tables = [table for section in sections for table in section.tables]
    tables += [table for chapter in chapters for table in chapter.beside]
    files = {f"{table.file}.csv": table.csv() for table in tables}
    files |= {f"{table.file}.md": table.markdown() for section in sections for table in section.tables}
    for figure in (figure for section in sections for figure in section.figures):
        files |= figure.files
    answers = "; ".join(chapter.answer for chapter in chapters)
    page = render(experiment.title, f"{described(experiment, work.inputs)} {answers}.", sections)
    arrays = {name: array for table in tables for name, array in table.arrays().items()}
    return Result(arrays, {}, {"index.html": page} | files)


def described(experiment: Experiment, inputs: dict[str, Shards]) -> str:
    """The experiment in a sentence."""
    parts = [experiment.data.name] if experiment.data else []
    if shadow := experiment.shadow_models:
        weights = experiment.backbone.weights or "weights made by its pretrain part"
        parts += [
            f"{shadow.class_size} image(s) a class",
            f"{shadow.seeds} permutation seeds with {shadow.seeds * shadow.models_per_seed:,} shadow models"
            + (" for the statistics, and a stream of others" if shadow.source == "stream" else ""),
            f"{experiment.backbone.name} ({weights})",
        ]
        if "shadow_models" in inputs:
            parts += victims_said(inputs["shadow_models"].matching("test"))
        if experiment.reconstructor:
            parts += accuracies(inputs["min_mse"])
    if inversion := experiment.gradient_inversion:
        parts += [
            f"{len(inversion.chosen)} images in batches of {inversion.batch_size}",
            f"network {inversion.network.name}",
        ]
    if kkt := experiment.kkt:
        parts += [
            f"{kkt.problem.labels.replace('_', ' ')} ({kkt.problem.kind})",
            f"{kkt.problem.images_per_class} images a class",
            f"{kkt.search.trials} trials of {kkt.attack.candidates or 'separated'} candidates",
        ]
    return f"{', '.join(parts)}, experiment seed {experiment.seed}."


def victims_said(victims: Shards) -> list[str]:
    """How many images trained each victim, and what that cost in privacy."""
    record = victims.attributes(victims.names[0])
    said = [f"N = {next(victims.blocks('indices')).shape[1]} images a training set"]
    if "epsilon" not in record:
        return [*said, "trained without noise (ε = ∞)"]
    epsilon, delta, noise = (float(record[name]) for name in ("epsilon", "delta", "noise_multiplier"))
    return [*said, f"(ε, δ) = ({epsilon:.3g}, {delta:.2g}) by noise multiplier {noise:g}"]


def accuracies(scores: Shards) -> list[str]:
    """How well the victims do what they were trained for."""
    record = scores.attributes(scores.names[0])
    if "accuracy_unseen" not in record:
        return []
    return [
        f"victims right on {100 * float(record['accuracy_trained']):.1f} % of their own images and "
        f"{100 * float(record['accuracy_unseen']):.1f} % of others"
    ]


def settings(experiment: Experiment, shard: str) -> dict:
    shown = {"title": experiment.title, "sheet_victims": experiment.evaluation.sheet_victims}
    return shown | (experiment.kkt.analysis.model_dump(include={"sheet", "sort_by"}) if experiment.kkt else {})


def reported(experiment: Experiment) -> bool:
    """Whether an attack is made of which there is something to say."""
    return bool(experiment.reconstructor or experiment.gradient_inversion or (experiment.kkt and experiment.kkt.attack))


STAGE = Stage(
    name="report",
    shards=lambda experiment: ["report"] if reported(experiment) else [],
    inputs=lambda experiment: [name for name in NAMES if name not in PAGES_APART],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
    location=in_point_directory,
    version=2,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
