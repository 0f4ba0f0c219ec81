"""Finished experiments side by side, attack by attack, and curves along the one key in which they differ."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline import located
from pipeline.attack import Attack
from pipeline.attacks import ATTACKS
from pipeline.config import Experiment
from pipeline.errors import UserError
from pipeline.files import atomic_write
from pipeline.shadow.spent import epsilon
from stages.plan import Plan

if TYPE_CHECKING:
    from pipeline.report.table import Table

NOT_COMPARED = {"name", "source", "overrides", "point", "paths", "resources"}
NOISE = ("shadow_models.training.private.noise_multiplier", "shadow_models.training.private.target_epsilon")
EPSILON = "ε"


def summaries(plans: Sequence[Plan]) -> "list[tuple[Attack, list[Plan], Table]]":
    """Every attack that some of the experiments make, with those, side by side; raises Failure where one lacks."""
    by_attack = [
        (attack, [plan for plan in plans if attack.is_made(plan.experiment)]) for attack in ATTACKS if attack.summarise
    ]
    return [(attack, made, attack.summarise(made)) for attack, made in by_attack if made]


def differences(experiments: Sequence[Experiment]) -> dict[str, list[Any]]:
    """The keys in which experiments differ, each with the experiments' values; noise counts as ε."""
    settings = [_flat(experiment.model_dump(mode="json", exclude=NOT_COMPARED)) for experiment in experiments]
    keys = sorted({key for one in settings for key in one})
    found = {key: [one.get(key) for one in settings] for key in keys}
    found = {key: values for key, values in found.items() if any(value != values[0] for value in values)}
    if noise := [key for key in NOISE if key in found]:
        for key in noise:
            del found[key]
        found[EPSILON] = []
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def write_comparison(attack: Attack, plans: Sequence[Plan], table: "Table", along: str | None) -> list[str]:
    """CSV and Markdown of the table, and the curves where one key varies; returns what to say of it."""
    experiments = [plan.experiment for plan in plans]
    names = sorted({experiment.name for experiment in experiments})
    directory = located(experiments[0].paths.runs) / "comparisons" / "-".join(names)[:100]
    files = {f"{table.file}.csv": table.csv(), f"{table.file}.md": table.markdown()}
    lines = []
    if attack.curves:
        drawn, line = curves(plans, table, attack.curves, along)
        files |= drawn
        lines.append(line)
    for name, content in files.items():
        atomic_write(directory / name, content)
    return [*lines, f"written to {directory}: {', '.join(files)}"]


def curves(
    plans: Sequence[Plan], table: "Table", columns: Sequence[str], along: str | None
) -> tuple[dict[str, bytes], str]:
    """Files (name → content) of `columns` along the key that varies, or none; and a line on which, or why not."""
    varying = differences([plan.experiment for plan in plans])
    if along and along not in varying:
        raise UserError(
            f"--along {along}: the experiments do not differ in it; they do in {', '.join(varying) or 'nothing'}"
        )
    if not along and len(varying) != 1:
        why = (
            f"they differ in {len(varying)} keys ({', '.join(varying)}); choose one with --along"
            if varying
            else "they do not differ"
        )
        return {}, f"no curve: {why}"
    key = along or next(iter(varying))
    values = [epsilon(plan) for plan in plans] if key == EPSILON else varying[key]
    numeric = [
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
    ]
    if sum(numeric) < 2:
        return {}, f"no curve: {key} has fewer than two finite numbers among its values"
    from pipeline.report import figures, style

    value_of = {
        plan.experiment.title: value for plan, value, usable in zip(plans, values, numeric, strict=True) if usable
    }
    files = {}
    for mode in dict.fromkeys(row[1] for row in table.rows):
        rows = sorted(
            (row for row in table.rows if row[1] == mode and row[0] in value_of), key=lambda row: value_of[row[0]]
        )
        series = {name: [row[table.columns.index(name)] for row in rows] for name in columns if name in table.columns}
        drawing = figures.curve([value_of[row[0]] for row in rows], series, key, f"rates, {mode}")
        files |= {f"curve_{mode}.png": style.png(drawing), f"curve_{mode}.pdf": style.pdf(drawing)}
    return files, f"curve along {key}: {', '.join(files)}"
