"""The page that answers the experiment's question, with its tables and pictures as files beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.attacks import ATTACKS, attacks_of
from pipeline.config import Experiment
from pipeline.store import Result, Shards
from stages import NAMES
from stages.command import main
from stages.stage import Resources, Stage, Work, in_point_directory

if TYPE_CHECKING:
    from pipeline.report.page import Table

NOT_READ = {"report", *(stage for attack in ATTACKS if attack.apart for stage in attack.stages)}


def work_table(inputs: Mapping[str, Shards]) -> "Table":
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


def imported_parts(inputs: Mapping[str, Shards]) -> list[str]:
    """What of the work was brought in from elsewhere, from the shards' own attributes."""
    found = []
    for stage, shards in inputs.items():
        origins = sorted(
            {str(record["imported"]) for record in map(shards.attributes, shards.names) if "imported" in record}
        )
        found += [f"{stage} was not made here but imported from {origin}" for origin in origins]
    return found


def run(work: Work) -> Result:
    """index.html; every table as CSV, Markdown and arrays (<table>/<column>); every picture as PNG and PDF."""
    import yaml

    from pipeline.report.page import Section, render
    from pipeline.store import software

    experiment = work.experiment
    chapters = [attack.chapter(experiment, work.inputs) for attack in attacks_of(experiment)]
    configuration = experiment.model_dump(mode="json", exclude={"paths", "source", "overrides"}, exclude_none=True)
    imported = [f"{part}." for part in imported_parts(work.inputs)]
    sections = [
        *(section for chapter in chapters for section in chapter.sections),
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
    verdict = f"{'; '.join(chapter.answer for chapter in chapters)}."
    page = render(experiment.title, f"{described(experiment, work.inputs)} {verdict}", sections)
    arrays = {name: array for table in tables for name, array in table.arrays().items()}
    return Result(arrays, {"verdict": verdict}, {"index.html": page} | files)


def described(experiment: Experiment, inputs: Mapping[str, Shards]) -> str:
    """The experiment in a sentence."""
    parts = [experiment.data.name] if experiment.data else []
    if shadow := experiment.shadow_models:
        weights = experiment.backbone.weights or "weights made by its pretrain part"
        parts += [
            f"{shadow.class_size} image(s) a class",
            *([f"victims of {shadow.test_seeds} test seeds"] if shadow.test_seeds > 1 else []),
            f"{shadow.seeds} permutation seeds with {shadow.seeds * shadow.models_per_seed:,} shadow models"
            + (" for the statistics, and a stream of others" if shadow.source == "stream" else ""),
            f"{experiment.backbone.name} ({weights})",
        ]
        if "shadow_models" in inputs:
            parts += victims_said(inputs["shadow_models"].matching("test"))
    for attack in attacks_of(experiment):
        parts += attack.describe(experiment, inputs)
    return f"{', '.join(parts)}, experiment seed {experiment.seed}."


def victims_said(victims: Shards) -> list[str]:
    """How many images trained each victim, and the (ε, δ) of private training."""
    record = victims.attributes(victims.names[0])
    said = [f"N = {next(victims.blocks('indices')).shape[1]} images a training set"]
    if "epsilon" not in record:
        return [*said, "trained without noise (ε = ∞)"]
    epsilon, delta, noise = (float(record[name]) for name in ("epsilon", "delta", "noise_multiplier"))
    return [*said, f"(ε, δ) = ({epsilon:.3g}, {delta:.2g}) by noise multiplier {noise:g}"]


def settings(experiment: Experiment, shard: str) -> dict:
    fields = {"title": experiment.title, "sheet_victims": experiment.evaluation.sheet_victims}
    for attack in attacks_of(experiment):
        fields |= attack.shown(experiment)
    return fields


STAGE = Stage(
    name="report",
    shards=lambda experiment: ["report"] if attacks_of(experiment) else [],
    inputs=lambda experiment: [name for name in NAMES if name not in NOT_READ],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
    location=in_point_directory,
    version=2,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
