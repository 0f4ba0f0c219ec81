"""jobs → stages → pipeline: imports only go down, and no stage imports another."""

import ast
import re
from pathlib import Path

import pytest

from pipeline import ROOT
from pipeline.attacks import ATTACKS
from stages import NAMES

ABOVE = {"pipeline": {"stages", "jobs"}, "stages": {"jobs"}, "jobs": set()}


def imported(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import hides which floor it goes to"
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


@pytest.mark.parametrize("floor", ABOVE)
def test_imports_only_go_down(floor):
    for file in (ROOT / floor).rglob("*.py"):
        floors = {module.partition(".")[0] for module in imported(file)}
        assert not floors & ABOVE[floor], file


def test_no_stage_imports_another():
    for name in NAMES:
        others = {f"stages.{other}" for other in NAMES} - {f"stages.{name}"}
        assert not imported(ROOT / "stages" / f"{name}.py") & others, name


def imported_to_run(file: Path) -> set[str]:
    """Modules that a file imports to run: not those that only its annotations name."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def test_packages_below_pipeline_form_no_cycle():
    packages: dict[str, set[str]] = {}
    for file in (ROOT / "pipeline").rglob("*.py"):
        own = file.relative_to(ROOT).with_suffix("").parts[1]
        read = {module.split(".")[1] for module in imported_to_run(file) if module.startswith("pipeline.")}
        packages.setdefault(own, set()).update(read - {own})
    while free := [name for name, read in packages.items() if not read & packages.keys()]:
        for name in free:
            del packages[name]
    assert not packages, f"these import one another in a circle, or what is in one: {packages}"


def test_asking_for_the_state_does_not_wait_for_torch():
    import subprocess
    import sys

    lines = "import sys, stages.plan, jobs.scan, jobs.status; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


KNOW_NO_FAMILY = [
    *sorted((ROOT / "jobs").rglob("*.py")),
    *(ROOT / "stages" / f"{name}.py" for name in ("__init__", "command", "execution", "plan", "report", "stage")),
    ROOT / "pipeline" / "config.py",
    ROOT / "pipeline" / "attack.py",
    ROOT / "pipeline" / "report" / "page.py",
]


@pytest.mark.parametrize("file", KNOW_NO_FAMILY, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_engine_and_the_report_name_no_attack(file):
    names = {name for attack in ATTACKS if not attack.apart for name in (attack.name, *attack.parts, *attack.stages)}
    named = re.findall(rf"\b(?:{'|'.join(sorted(names))})\b", file.read_text())
    assert not named, f"{file}: what it says of {named[0]} belongs into pipeline/{named[0]}/entry.py or its stages"
