"""The table of published settings says what the YAML files say, and gives a reason wherever that is not published."""

import re

import pytest
import yaml

from pipeline import ROOT
from pipeline.config import load

ROW = re.compile(
    r"\| `(?P<file>\w+)(?:, (?P<point>[^`]+))?` \| `(?P<key>[\w.]+)` "
    r"\| (?P<there>.+) \| (?P<here>.+) \| ?(?P<why>.*) ?\|"
)


def rows() -> list[dict[str, str]]:
    lines = (ROOT / "docs" / "published_settings.md").read_text().splitlines()
    return [match.groupdict() for match in map(ROW.fullmatch, lines) if match]


def setting(experiment, key: str):
    """The value at a dotted key, as plain data without what is left at its default."""
    value = experiment
    for part in key.split("."):
        value = getattr(value, part)
    if isinstance(value, tuple):
        value = [
            one.model_dump(mode="json", exclude_defaults=True) if hasattr(one, "model_dump") else one for one in value
        ]
    return value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value


def test_the_table_covers_every_published_attack():
    files = {row["file"] for row in rows()}
    assert len(rows()) > 150
    assert {"mnist_n10", "cifar10_n40", "celeba_n10", "mnist_n10_private", "kkt_mnist_published"} <= files


@pytest.mark.parametrize("file", sorted({row["file"] for row in rows()}))
def test_the_table_says_what_the_files_say(file):
    for row in rows():
        if row["file"] != file:
            continue
        experiment = load(file, [f"point={row['point']}"] if row["point"] else [])
        here = None if row["here"] == "none" and row["key"] != "reconstructor.lpips" else yaml.safe_load(row["here"])
        found = setting(experiment, row["key"])
        assert found == here or float(found) == float(here), row
        assert row["there"] == row["here"] or row["why"].strip(), f"{row}: differs without a reason"
