"""An experiment's YAML as layers: what it extends, itself, its point of a grid, and the overrides of a command line."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import ROOT, located
from pipeline.errors import UserError

Layer = tuple[str, dict[str, Any]]
"""(where it comes from, keys)."""


def find(config: str | Path) -> Path:
    """The YAML file at a path, or of that name in config_data/."""
    candidates = [Path(config), located(config), ROOT / "config_data" / f"{config}.yml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    known = ", ".join(sorted(file.stem for file in (ROOT / "config_data").glob("*.yml")))
    raise UserError(f"{config}: no such experiment file; in config_data/ there are: {known}")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats: 1e-5 is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file; raises UserError where there is none."""
    try:
        content = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: should be a mapping of keys, not a {type(content).__name__}")
    return content


def layers_of(path: Path, chain: tuple[Path, ...] = ()) -> list[Layer]:
    """Everything that `path` extends, then itself."""
    if path in chain:
        raise UserError(f"{path}: extends itself through {' → '.join(file.name for file in chain)}")
    content = read_yaml(path)
    parents = content.pop("extends", [])
    layers = []
    for parent in [parents] if isinstance(parents, str) else parents:
        file = path.parent / parent
        if not file.is_file():
            raise UserError(f"{path}: extends {parent}, but {file} does not exist")
        layers += layers_of(file.resolve(), (*chain, path))
    return [*layers, (path.name, content)]


def override_layer(override: str) -> Layer:
    """`a.b=c` as a layer, `c` read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write it as key.of.the.experiment=value")
    try:
        return f"--set {override}", _nested(key, yaml.load(value, _Loader))
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value cannot be read as YAML") from None


def _nested(key: str, value: Any) -> dict[str, Any]:
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
    points = {}
    for combination in itertools.product(*axes):
        name = ",".join(f"{axis.rpartition('.')[2]}={label}" for axis, label, _ in combination)
        changes = [(name, _nested(key, value)) for _, _, change in combination for key, value in change.items()]
        points[re.sub(r"[^A-Za-z0-9._=,-]", "_", name)] = (f"{source}, grid point {name}", merge(changes))
    return points


def _choices(axis: str, values: Any, source: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(values, Mapping) and all(isinstance(change, Mapping) for change in values.values()):
        return [(str(label), dict(change)) for label, change in values.items()]
    if isinstance(values, list) and values:
        return [(str(value), {axis: value}) for value in values]
    raise UserError(f"{source}: grid.{axis} is a list of values, or labels with the keys that each changes")
