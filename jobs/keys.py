"""Every key of an experiment, from the settings' own descriptions: docs/keys.md is what this prints."""

import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import Experiment, model_in
from pipeline.data.sets import RECORDS

SET_BY_THE_PROGRAM = ("source", "overrides", "point", "name")
HEAD = """# Every key of an experiment

What a YAML file in `config_data/`, or one of your own, may say. `python -m jobs keys` prints this page from the
settings in the code, and a test holds that it is fresh. `--set a.b=c` changes a key for one run. **needed** marks keys
without a default; where a part is left out, the stages that need it have nothing to do.

`extends: NAME`, or a list of names and paths (later ones win), takes other experiments' keys over first. `grid:` makes
one file a study: each axis is a key with a list of values, or a name with labelled changes.
"""


def keys_page() -> str:
    """The page as Markdown."""
    parts = [HEAD, *_sections("", Experiment, {}), _data_sets()]
    return "\n".join(parts).rstrip() + "\n"


def keys_under(prefix: str) -> list[str]:
    """Lines of the page that speak of one key and those below it."""
    pattern = re.compile(rf"^\| `{re.escape(prefix)}(\.|`)")
    return [line for line in keys_page().splitlines() if pattern.match(line)]


def _sections(prefix: str, model: type[BaseModel], told: dict[type[BaseModel], str]) -> Iterator[str]:
    """A table of a model's keys, then a section for each key that holds further keys, unless it is `told` already."""
    rows, below = [], []
    for name, field in model.model_fields.items():
        if not prefix and name in SET_BY_THE_PROGRAM:
            continue
        key = f"{prefix}.{name}" if prefix else name
        inner = model_in(field.annotation)
        about = field.description or ""
        if inner in told:
            about = f"{about}{'; ' if about else ''}the keys of `{told[inner]}`"
        elif inner:
            told[inner] = key
            below.append((key, inner))
            about = about or _about(inner).splitlines()[0]
        rows.append(f"| `{key}` | {_type(field)} | {_default(field, inner)} | {_cell(about)} |")
    yield "| key | values | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for key, inner in below:
        yield f"{'##' if '.' not in key else '###'} `{key}`\n\n{_about(inner)}\n"
        yield from _sections(key, inner, told)


def _about(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: FieldInfo, inner: type[BaseModel] | None) -> str:
    if field.is_required():
        return "**needed**"
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined:
        return "none"
    if inner:
        return "their defaults"
    if isinstance(default, bool):
        return str(default).lower()
    return f"`{', '.join(map(str, default)) if isinstance(default, tuple) else default}`" if default != () else "[]"


def _type(field: FieldInfo) -> str:
    kind = _name(field.annotation)
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if getattr(rule, name, None) is not None
    ]
    return f"{kind} {', '.join(bounds)}".strip()


def _name(annotation: Any) -> str:
    """An annotation in words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(part) for part in parts if part is not type(None)))
    if origin is typing.Annotated:
        return _name(parts[0])
    if origin is tuple:
        return f"list of {_name(parts[0])}"
    if origin is dict:
        return f"name: {_name(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys"
    return {int: "integer", float: "number", str: "text", bool: "true or false"}[annotation]


def _data_sets() -> str:
    rows = [
        f"| `{record.name}` | {record.about} | {record.channels}×{record.size}×{record.size} | {record.licence} |"
        for record in RECORDS.values()
    ]
    table = "| `data.name` | | rebuilt as | licence |\n|---|---|---|---|\n" + "\n".join(rows)
    return f"## Data sets\n\n{table}\n"
