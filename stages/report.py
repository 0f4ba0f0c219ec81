"""The page that answers the experiment's question, with its tables as CSV beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Experiment
from pipeline.store import Result, Shards
from stages import NAMES
from stages.command import main
from stages.stage import Resources, Stage, Work

if TYPE_CHECKING:
    from pipeline.report.page import Chapter


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
    from pipeline.report.reconstructor import chapter

    experiment, data = work.experiment, work.experiment.data
    images = target_images(load(data, "test", experiment.paths.data_root), data.image_size).numpy()
    chapters = []
    for mode in work.inputs["roc"].names:
        threshold = float(work.inputs["roc"].attributes(mode)["threshold"])
        roc, scores = work.inputs["roc"].read(mode), work.inputs["min_mse"].read(mode)
        chapters.append(chapter(mode, roc, threshold, scores, images, experiment.evaluation.sheet_victims))
    return chapters


def inversion_chapter(work: Work) -> "Chapter":
    from pipeline.report.gradient_inversion import chapter, outcomes

    experiment = work.experiment
    found = outcomes(work.inputs["gradient_inversion"], experiment.gradient_inversion.attacks)
    return chapter(found, experiment.evaluation.sheet_victims)


def kkt_chapter(work: Work) -> "Chapter":
    from pipeline.report.kkt import chapter, findings

    return chapter(findings(work.inputs), work.inputs["kkt_attack"], work.experiment.kkt.analysis.sheet)


def run(work: Work) -> Result:
    """index.html and the CSV of every table."""
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
    sections = [
        *(chapter.section for chapter in chapters),
        Section("Work", f"Commit {software()['git_commit']}, {software()['packages']}.", [work_table(work.inputs)]),
        Section("Configuration", preformatted=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)),
    ]
    tables = [table for section in sections for table in section.tables]
    tables += [table for chapter in chapters for table in chapter.beside]
    page = render(experiment.title, f"{described(experiment)} {'; '.join(c.answer for c in chapters)}.", sections)
    return Result({}, {}, {"index.html": page} | {f"{table.file}.csv": table.csv() for table in tables})


def described(experiment: Experiment) -> str:
    """The experiment in a sentence."""
    parts = [experiment.data.name] if experiment.data else []
    if shadow := experiment.shadow_models:
        private = shadow.training.private
        noise = private and (private.noise_multiplier or f"for ε = {private.target_epsilon}")
        parts += [
            f"{shadow.class_size} image(s) a class",
            f"{shadow.seeds * shadow.models_per_seed:,} shadow models"
            + (" for the statistics, and a stream of others" if shadow.source == "stream" else ""),
            f"noise multiplier {noise}" if private else "trained without noise",
        ]
    if inversion := experiment.gradient_inversion:
        parts += [
            f"{inversion.images} images in batches of {inversion.batch_size}",
            f"network {inversion.network.name}",
        ]
    if kkt := experiment.kkt:
        parts += [
            f"{kkt.problem.labels.replace('_', ' ')} ({kkt.problem.kind})",
            f"{kkt.problem.images_per_class} images a class",
            f"{kkt.search.trials} trials of {kkt.attack.candidates} candidates",
        ]
    return f"{', '.join(parts)}, experiment seed {experiment.seed}."


def settings(experiment: Experiment, shard: str) -> dict:
    shown = {"title": experiment.title, "sheet_victims": experiment.evaluation.sheet_victims}
    return shown | ({"sheet": experiment.kkt.analysis.sheet} if experiment.kkt else {})


def reported(experiment: Experiment) -> bool:
    """Whether an attack is made of which there is something to say."""
    return bool(experiment.reconstructor or experiment.gradient_inversion or (experiment.kkt and experiment.kkt.attack))


def location(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    return experiment.run_directory / stage / f"{shard}.h5"


STAGE = Stage(
    name="report",
    shards=lambda experiment: ["report"] if reported(experiment) else [],
    inputs=lambda experiment: [name for name in NAMES if name != "report"],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
    location=location,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
