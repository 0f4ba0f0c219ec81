"""`pip install --editable .`: what it installs is what the checkout says."""

import tomllib
from importlib import import_module

import yaml

from pipeline import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_console_command_is_the_module(monkeypatch, capsys):
    module, function = PROJECT["project"]["scripts"]["reconstruct"].split(":")
    monkeypatch.setattr("sys.argv", ["reconstruct", "--help"])
    try:
        getattr(import_module(module), function)()
    except SystemExit as ended:
        assert ended.code == 0
    assert "python -m jobs run demo" in capsys.readouterr().out


def test_every_floor_is_a_package_that_is_installed():
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["jobs*", "stages*", "pipeline*"]
    for floor in ("jobs", "stages", "pipeline"):
        folders = {file.parent for file in (ROOT / floor).rglob("*.py")}
        assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["project"]["version"]
    assert f"## {PROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text()
