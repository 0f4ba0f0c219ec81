"""Commands, experiments, files, tests and the recipe that the documentation names exist."""

import re
import shlex

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from jobs.__main__ import jobs
from pipeline import ROOT
from pipeline.config import load
from pipeline.layers import shipped_experiments
from stages import NAMES
from stages.plan import Plan

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN = {"mine", "../mine.yml", "CONFIG"}
"""What a page calls an experiment of its reader's."""


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request):
    return request.param


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1000


def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_commands_and_experiments_exist(page):
    shipped = {file.stem for file in shipped_experiments()}
    for line in re.findall(r"python -m jobs ([^`\n]*)", page.read_text()):
        command, *words = shlex.split(line.replace("[", "").replace("]", ""), comments=True)
        if command in ("COMMAND", "…"):
            continue
        assert command in jobs.commands, line
        if command in ("run", "status", "resume", "report", "logs", "cancel", "verify", "prune", "unlock") and words:
            name = words[0].removeprefix("config_data/").removesuffix(".yml")
            assert words[0] in OWN or name in shipped, line


def test_stages_exist(page):
    for stage in re.findall(r"python -m stages\.(\w+)", page.read_text()):
        assert stage in NAMES


def test_tests_that_hold_a_promise_exist(page):
    for file, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / file).is_file(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), test


def test_examples_exist(page):
    for name in re.findall(r"python -m (examples\.\w+|benchmarks\.\w+)", page.read_text()):
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), name


def test_the_recipe_for_own_images_is_checked_and_ends_in_minutes(tmp_path):
    (recipe,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    rng = np.random.default_rng(0)
    for split, count in (("train", 300), ("test", 100)):
        for label in range(10):
            folder = tmp_path / "my_images" / split / f"class_{label}"
            folder.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(folder / "0.png")
            for number in range(1, count):
                (folder / f"{number}.png").hardlink_to(folder / "0.png")
    config = tmp_path / "mine.yml"
    config.write_text(recipe + yaml.safe_dump({"paths": {"runs": str(tmp_path / "runs")}}))
    done = CliRunner().invoke(jobs, ["run", str(config), "--dry-run"])
    assert done.exit_code == 0, done.output
    plan = Plan(load(config))
    shards = [(stage, shard) for stage in plan.stages for shard in stage.shards(plan.experiment)]
    assert sum(plan.resources(stage).seconds_per_shard for stage, _ in shards) < 600
    assert all(plan.resources(stage).device == "cpu" for stage in plan.stages)
