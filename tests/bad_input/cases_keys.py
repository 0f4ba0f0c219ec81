"""Every key of every part of an experiment: a mapping and not-a-number in its place, and a key beside it that is none."""

import re
import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel

from pipeline.config import Experiment
from tests.bad_input.case import Case

CONFIGS = {"kkt": "kkt_red_blue", "gradient_inversion": "gradient_inversion_demo"}
"""An experiment that has the part; the others are in the demo."""


def parts(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, list[str]]]:
    """(part, its keys that hold no further part), from the settings themselves."""
    keys = []
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if len(inner) == 1 and issubclass(inner[0], BaseModel):
            yield from parts(inner[0], f"{place}{name}.")
        else:
            keys.append(name)
    yield place, keys


def models_in(annotation: object) -> list[type]:
    """The settings class of an annotation that is one, or one or none; no list, no choice of several."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [found for part in typing.get_args(annotation) for found in models_in(part) if found is not type(None)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def refused(key: str, value: str, line: str) -> Case:
    config = CONFIGS.get(key.partition(".")[0], "demo")
    return Case(f"{key}={value}", ("jobs", "status", config, "RUNS", "--set", f"{key}={value}"), 2, line)


CASES = []
for part, keys in parts(Experiment):
    for key in keys:
        at = part + key
        if at in ("source", "overrides"):
            CASES += [refused(at, "x", f"the key {at} is set by the program; remove it")]
            continue
        last = re.escape(at)
        CASES += [refused(at, "{no: such}", rf"^error: .*{last}"), refused(at, ".nan", rf"^error: .*{last}")]
    CASES.append(refused(f"{part}nonsense", "1", rf"^error: .*unknown key {re.escape(part)}nonsense"))
