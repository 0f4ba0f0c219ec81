"""An experiment's YAML as layers: what it extends, itself, its point of a grid, and the overrides of a command line."""

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


MAX_LINKS = 20
MAX_LAYERS = 200
MAX_POINTS = 10_000


def find(config: str | Path) -> Path:
    """The YAML file at a path, or of that name in config_data/."""
    if any("\ud800" <= character <= "\udfff" for character in str(config)):
        raise UserError(f"{config!s}: the name is not UTF-8; rename the file")
    candidates = [Path(config), located(config), ROOT / "config_data" / f"{config}.yml"]
    for candidate in candidates:
        if is_file(candidate):
            return candidate.resolve()
    known = ", ".join(sorted(file.stem for file in (ROOT / "config_data").glob("*.yml")))
    raise UserError(f"{config}: no such experiment file; in config_data/ there are: {known}")


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
        file = path.parent / parent
        if not is_file(file):
            raise UserError(f"{path}: extends {parent}, but {file} does not exist")
        layers += layers_of(file.resolve(), (*chain, path))
        if len(layers) > MAX_LAYERS:
            raise UserError(f"{path}: extends more than {MAX_LAYERS} files")
    return [*layers, (path.name, content)]


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
