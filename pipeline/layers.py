"""An experiment's YAML as layers: what it extends, itself, its point of a grid, and the overrides of a command line."""

import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import ROOT, located
from pipeline.errors import UserError
from pipeline.yaml_files import parse_yaml, read_yaml

Layer = tuple[str, dict[str, Any]]
"""(where it comes from, keys)."""


SHIPPED = ROOT / "config_data"
NAMES_OF_FILES = ("path", "weights", "lpips_weights", "initial_weights", "data", "head", "images")
"""Keys whose value, where it is a string, names a file or a folder that an experiment reads…"""
NO_FILES = ("random", "imagenet")
"""…and what `initial_weights` may say instead."""
MAX_LINKS = 20
MAX_LAYERS = 200
MAX_POINTS = 10_000


def find(config: str | Path) -> Path:
    """The YAML file at a path, or of that name in config_data/."""
    if any("\ud800" <= character <= "\udfff" for character in str(config)):
        raise UserError(f"{config!s}: the name is not UTF-8; rename the file")
    for candidate in (Path(config), located(config), SHIPPED / f"{config}.yml"):
        if is_file(candidate):
            return candidate.resolve()
    raise UserError(f"{config}: no such experiment file{_nearest(str(config))}")


def shipped_experiments() -> list[Path]:
    """The experiments in config_data/, by name."""
    return sorted(SHIPPED.glob("*.yml"), key=lambda file: file.stem)


def _nearest(name: str) -> str:
    """What a user who typed `name` may have meant, and where all names are."""
    close = difflib.get_close_matches(Path(name).stem, [file.stem for file in shipped_experiments()], n=1)
    meant = f"; did you mean {close[0]}?" if close else "."
    return f"{meant} `python -m jobs list` shows those in config_data/"


def is_file(path: Path) -> bool:
    """Whether there is a file; raises UserError where that cannot be asked: a name too long, a forbidden directory."""
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror})") from None


def layers_of(path: Path, chain: tuple[Path, ...] = ()) -> list[Layer]:
    """Everything that `path` extends, then itself."""
    if path in chain:
        raise UserError(f"{path}: extends itself through {' → '.join(file.name for file in chain)}")
    if len(chain) > MAX_LINKS:
        raise UserError(f"{path}: is reached through more than {MAX_LINKS} files that extend one another")
    content = read_yaml(path)
    if not content:
        raise UserError(f"{path}: is empty; `python -m jobs run demo` shows what a file says (config_data/demo.yml)")
    layers: list[Layer] = []
    for parent in _parents(path, content.pop("extends", [])):
        layers += layers_of(_parent_file(path, parent), (*chain, path))
        if len(layers) > MAX_LAYERS:
            raise UserError(f"{path}: extends more than {MAX_LAYERS} files")
    return [*layers, (path.name, _with_files_beside(content, path.parent))]


def _parent_file(path: Path, parent: str) -> Path:
    """The file that `path` extends: beside it, or one in config_data/, with or without `.yml`."""
    folders = (path.parent, SHIPPED)
    for candidate in (folder / name for folder in folders for name in (parent, f"{parent}.yml")):
        if is_file(candidate):
            return candidate.resolve()
    raise UserError(
        f"{path}: extends {parent}, but {path.parent / parent} does not exist, nor a file of that name in config_data/"
        f"{_nearest(parent)}"
    )


def _with_files_beside(content: Any, folder: Path) -> Any:
    """Relative names of files as paths from `folder`, but for those that are there in the checkout alone."""
    if isinstance(content, list):
        return [_with_files_beside(value, folder) for value in content]
    if not isinstance(content, dict):
        return content
    found = {}
    for key, value in content.items():
        names_a_file = isinstance(key, str) and key.rpartition(".")[2] in NAMES_OF_FILES
        values = value if isinstance(value, list) else [value]
        if names_a_file and all(isinstance(one, str) for one in values):
            files = [_file_from(one, folder) for one in values]
            found[key] = files if isinstance(value, list) else files[0]
        else:
            found[key] = _with_files_beside(value, folder)
    return found


def _file_from(name: str, folder: Path) -> str:
    if not name or name.startswith("~") or name in NO_FILES:
        return name
    try:
        in_checkout = not (folder / name).exists() and ((ROOT / name).exists() or folder.is_relative_to(SHIPPED))
    except (OSError, ValueError):  # no name that a file can have: told where it is opened
        return name
    return name if in_checkout else str(folder / name)


def _parents(path: Path, named: Any) -> list[str]:
    parents = [named] if isinstance(named, str) else named
    if not isinstance(parents, list) or not all(isinstance(parent, str) and parent for parent in parents):
        raise UserError(f"{path}: extends should be the name of a file or a list of names, not {named!r}")
    return parents


def override_layer(override: str) -> Layer:
    """`a.b=c` as a layer, `c` read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write it as key.of.the.experiment=value")
    try:
        return f"--set {override}", _nested(key, parse_yaml(value))
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value cannot be read as YAML") from None


def _nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b` and a value as {a: {b: value}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Later layers over earlier ones: mappings merge, all else is replaced."""
    merged: dict[str, Any] = {}
    for _, layer in layers:
        merged = _merge_two(merged, layer)
    return merged


def _merge_two(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge_two(merged[key], value) if both else value
    return merged


def grid_points(grid: Any, source: str) -> dict[str, Layer]:
    """Every combination of a grid's axes by name.

    An axis is a key with a list of values (`seed: [0, 1]`), or a name of its own with labelled changes of several keys
    (`noise: {low: {a.b: 1, a.c: 2}}`). A point's name lists its choices: `seed=0,noise=low`.
    """
    if not isinstance(grid, Mapping) or not grid:
        raise UserError(f"{source}: grid is a mapping of axes, each a key with a list or a name with labelled changes")
    axes = [[(axis, *choice) for choice in _choices(axis, values, source)] for axis, values in grid.items()]
    if (count := math.prod(map(len, axes))) > MAX_POINTS:
        raise UserError(f"{source}: grid has {count:,} points; a study has at most {MAX_POINTS:,}")
    points: dict[str, Layer] = {}
    for combination in itertools.product(*axes):
        said = ",".join(f"{axis.rpartition('.')[2]}={label}" for axis, label, _ in combination)
        name = re.sub(r"[^A-Za-z0-9._=,-]", "_", said)
        where = f"{source}, grid point {said}"
        if name in points:
            raise UserError(f"{where}: would share its directory, {name}, with {points[name][0]}; name one otherwise")
        points[name] = (where, merge([(said, _nested(*change)) for _, _, changes in combination for change in changes]))
    return points


def _choices(axis: Any, values: Any, source: str) -> list[tuple[str, list[tuple[str, Any]]]]:
    """(label, changes) for every choice along an axis."""
    if not isinstance(axis, str):
        raise UserError(f"{source}: grid.{axis}: the name of an axis should be a string, not {axis!r}")
    if isinstance(values, Mapping) and values and all(isinstance(changes, Mapping) for changes in values.values()):
        choices = [(str(label), list(changes.items())) for label, changes in values.items()]
    elif isinstance(values, list) and values:
        choices = [(str(value), [(axis, value)]) for value in values]
    else:
        raise UserError(f"{source}: grid.{axis} is a list of values, or labels with the keys that each changes")
    for label, changes in choices:
        for key, _ in changes:
            if not isinstance(key, str) or key.partition(".")[0] in ("grid", "point", "extends"):
                raise UserError(f"{source}: grid.{axis}, {label}: {key} is no key that a grid can change")
    return choices
