"""The page that answers the experiment's question, with its tables as CSV beside it."""

from pathlib import Path

from pipeline.config import Experiment
from pipeline.store import Result, Shards
from stages import NAMES
from stages.command import main
from stages.stage import Resources, Stage, Work


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


def run(work: Work) -> Result:
    """index.html, rates_<mode>.csv, scores_<mode>.csv, work.csv."""
    import yaml

    from pipeline.data.images import target_images
    from pipeline.data.sources import load
    from pipeline.report.page import Section, render
    from pipeline.report.reconstructor import scores_table, section
    from pipeline.store import software

    experiment, inputs = work.experiment, work.inputs
    data, shadow = experiment.data, experiment.shadow_models
    images = target_images(load(data, "test", experiment.paths.data_root), data.image_size).numpy()
    sections, tables, answers = [], [work_table(inputs)], []
    for mode in inputs["roc"].names:
        roc, scores = inputs["roc"].read(mode), inputs["min_mse"].read(mode)
        threshold = float(inputs["roc"].attributes(mode)["threshold"])
        found = section(mode, roc, threshold, scores, images, experiment.evaluation.sheet_victims)
        sections.append(found)
        tables += [*found.tables, scores_table(scores, mode)]
        hits = roc["threshold_tpr"][0, 0]
        answers.append(f"{mode}: AUC {roc['auc'][0, 0]:.3f}, {100 * hits:.0f} % of images below the threshold")
    models = shadow.seeds * shadow.models_per_seed
    summary = (
        f"{data.name}, {shadow.class_size} image(s) a class, {models:,} shadow models, experiment seed "
        f"{experiment.seed}. {'; '.join(answers)}."
    )
    configuration = experiment.model_dump(mode="json", exclude={"paths", "source", "overrides"}, exclude_none=True)
    sections += [
        Section("Work", f"Commit {software()['git_commit']}, {software()['packages']}.", [tables[0]]),
        Section("Configuration", preformatted=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)),
    ]
    page = render(f"Reconstruction attack: {experiment.title}", summary, sections)
    return Result({}, {}, {"index.html": page} | {f"{table.file}.csv": table.csv() for table in tables})


def settings(experiment: Experiment, shard: str) -> dict:
    return {"title": experiment.title, "sheet_victims": experiment.evaluation.sheet_victims}


def location(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    return experiment.run_directory / stage / f"{shard}.h5"


STAGE = Stage(
    name="report",
    shards=lambda experiment: ["report"] if experiment.reconstructor else [],
    inputs=lambda experiment: [name for name in NAMES if name != "report"],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
    location=location,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
