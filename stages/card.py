"""The report card of an audit: a page, the same as JSON, and one sentence."""

from pathlib import Path

from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work, in_point_directory


def run(work: Work) -> Result:
    """card.html, card.json, every table as CSV and Markdown, every picture as PNG and PDF; the tables' arrays. The
    attribute `verdict` is the sentence."""
    import json

    import yaml

    from pipeline.audit.findings import card_of
    from pipeline.audit.sections import sections
    from pipeline.report.page import Section, render
    from pipeline.store import software

    experiment, arrays = work.experiment, work.inputs["audit"].read("audit")
    told = work.inputs["audit"].attributes("audit")
    card = card_of(experiment, arrays, json.loads(told["suspicions"]))
    recipe = experiment.shadow_models.training.model_dump(mode="json", exclude_none=True)
    found = [
        *sections(card, arrays),
        Section("The recipe", preformatted=yaml.safe_dump(recipe, sort_keys=False)),
        Section("Work", f"Commit {software()['git_commit']}, {software()['packages']}."),
    ]
    tables = [table for section in found for table in section.tables]
    files = {f"{table.file}.csv": table.csv() for table in tables}
    files |= {f"{table.file}.md": table.markdown() for table in tables}
    for figure in (figure for section in found for figure in section.figures):
        files |= figure.files
    page = render(f"How exposed is {experiment.title}?", card.verdict, found)
    files |= {"card.html": page, "card.json": card.json_bytes()}
    return Result(
        {name: array for table in tables for name, array in table.arrays().items()}, {"verdict": card.verdict}, files
    )


def settings(experiment: Experiment, shard: str) -> dict:
    return {"title": experiment.title, "heads": [Path(path).name for path in experiment.subject.heads]}


STAGE = Stage(
    name="card",
    shards=lambda experiment: ["card"] if experiment.subject else [],
    inputs=lambda experiment: ["audit"],
    settings=settings,
    resources=lambda experiment: Resources("cpu", seconds_per_shard=15.0),
    run=run,
    location=in_point_directory,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
