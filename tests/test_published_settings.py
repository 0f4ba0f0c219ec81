"""The table of published settings says what the YAML files say, and gives a reason wherever that is not published."""

import re
from collections.abc import Iterator

import pytest
import yaml

from pipeline import ROOT
from pipeline.config import load_all
from tests.pipeline.shadow.test_accountant import PUBLISHED as PAIRS

ROW = re.compile(
    r"\| `(?P<file>\w+)(?:, (?P<point>[^`]+))?` \| `(?P<key>[\w.]+)` "
    r"\| (?P<there>.+) \| (?P<here>.+) \| ?(?P<why>.*) ?\|"
)
SIZES = [
    f"{data}_{size}{private}"
    for data in ("mnist", "cifar10")
    for size in ("n10", "n40")
    for private in ("", "_private")
]
RECONSTRUCTOR = [*SIZES, "mnist_binary", "cifar10_binary", "cifar100_to_cifar10", "celeba_n10", "celeba_n40"]
STUDIES = ["mnist_factors", "cifar10_factors", "mnist_n40_epsilon", "cifar10_n40_epsilon"]
KKT = [f"kkt_{name}" for name in ("mnist_published", "cifar10_published", "cifar10_multiclass", "cifar100_multiclass")]
KKT += [f"kkt_{name}" for name in ("cifar10_regression", "mnist_search", "cifar10_search", "red_blue_published")]
PUBLISHED = [*RECONSTRUCTOR, *STUDIES, *KKT]
"""The experiments that are called published."""


def rows() -> list[dict[str, str]]:
    lines = (ROOT / "docs" / "published_settings.md").read_text().splitlines()
    return [match.groupdict() for match in map(ROW.fullmatch, lines) if match]


def setting(experiment, key: str):
    """The value at a dotted key, as plain data without what is left at its default."""
    value = experiment
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    if isinstance(value, tuple):
        value = [
            one.model_dump(mode="json", exclude_defaults=True) if hasattr(one, "model_dump") else one for one in value
        ]
    return value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value


def leaves(mapping: dict, prefix: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def keys_of(file: str) -> list[tuple[str, str]]:
    """(point of its grid or "", key) of all that a file says itself, with what is shared under parts/."""
    said = yaml.safe_load((ROOT / "config_data" / f"{file}.yml").read_text())
    parent, grid = said.pop("extends", ""), said.pop("grid", {})
    keys = [("", key) for key in leaves(said) if not key.startswith("resources.")]
    if parent.startswith("parts/"):
        keys += [("", key) for key in leaves(yaml.safe_load((ROOT / "config_data" / parent).read_text()))]
    for axis, choices in grid.items():
        keys += [(f"{axis}={label}", key) for label, changes in choices.items() for key in leaves(changes)]
    return sorted(set(keys))


def told(file: str, point: str, key: str) -> bool:
    """Whether the table has that key, or a part of the experiment that it stands in, of the file (and the point)."""
    return any(
        row["file"] == file and point in ("", row["point"]) and f"{key}.".startswith(f"{row['key']}.") for row in rows()
    )


@pytest.mark.parametrize("file", PUBLISHED)
def test_the_table_has_every_key_of_the_published_experiments(file):
    lacking = [f"{point} {key}".strip() for point, key in keys_of(file) if not told(file, point, key)]
    assert not lacking


@pytest.mark.parametrize("file", sorted({row["file"] for row in rows()}))
def test_the_table_says_what_the_files_say(file):
    of_points = {experiment.point: experiment for experiment in load_all(file)}
    for row in rows():
        if row["file"] != file:
            continue
        here = None if row["here"] == "none" and row["key"] != "reconstructor.lpips" else yaml.safe_load(row["here"])
        found = setting(of_points[row["point"]], row["key"])
        assert found == here or float(found) == float(here), row
        assert row["there"] == row["here"] or row["why"].strip(), f"{row}: differs without a reason"


@pytest.mark.parametrize(
    ("file", "images"),
    [("mnist_factors", 10), ("cifar10_factors", 10), ("mnist_n40_epsilon", 40), ("cifar10_n40_epsilon", 40)],
)
def test_a_point_named_after_its_epsilon_has_its_noise(file, images):
    """The pairs whose epsilons test_accountant works out."""
    named, unnamed = {}, []
    for experiment in load_all(file):
        private, label = experiment.shadow_models.training.private, re.split("[=_]", experiment.point)[-1]
        if private:
            named[private.noise_multiplier] = int(label)
            steps = private.steps
        else:
            unnamed.append(experiment.point)
    assert named == PAIRS[images, steps]
    assert not any("epsilon_" in point or point[8:].isdigit() for point in unnamed)
