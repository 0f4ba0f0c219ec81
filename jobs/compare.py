"""Finished experiments side by side, and the curve of their rates along the one key in which they differ."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline import located
from pipeline.config import Experiment
from pipeline.errors import UserError
from pipeline.files import atomic_write
from pipeline.store import read_arrays, read_attributes, standing
from stages import stage_named
from stages.plan import Plan

if TYPE_CHECKING:
    from pipeline.report.table import Table

NOT_COMPARED = {"name", "source", "overrides", "point", "paths", "resources"}
NOISE = ("shadow_models.training.private.noise_multiplier", "shadow_models.training.private.target_epsilon")
EPSILON = "ε"
GUARANTEE = {"delta": "δ", "noise_multiplier": "σ", "sample_rate": "q", "steps": "T", "clip_norm": "clip norm"}
"""What ε means nothing without."""
HELD = ("ε at least", "κ", "ceiling 1 − f(κ)", "rebuilt")
FPR = 0.01


def comparison(plans: Sequence[Plan]) -> "Table":
    """One row per experiment and mode: what was trained, at what cost in privacy, and the pooled rates with intervals.

    Raises Failure where an experiment is not finished.
    """
    from pipeline.report.reconstructor import quoted
    from pipeline.report.table import Table

    rows, wanted = [], ()
    accounts = GUARANTEE if any(plan.experiment.shadow_models.training.private for plan in plans) else {}
    for plan in plans:
        experiment, shards = plan.experiment, plan.finished(stage_named("roc"))
        scores = plan.finished(stage_named("min_mse"))
        training = experiment.shadow_models.training
        for mode in shards.names:
            said, roc, record = shards.attributes(mode), shards.read(mode), scores.attributes(mode)
            null = str(said["null"])
            pooled = {
                name.removeprefix(f"{null}/"): array for name, array in roc.items() if name.startswith(f"{null}/")
            }
            if rows and tuple(roc["false_positive_rates"]) != wanted:
                raise UserError(
                    "compare: the experiments have other evaluation.false_positive_rates; give all the same"
                )
            wanted = tuple(roc["false_positive_rates"])
            auc, at, hits, false_hits = quoted(pooled, 0, roc["false_positive_rates"])
            unseen = record.get("accuracy_unseen")
            rows.append(
                [
                    experiment.title,
                    mode,
                    experiment.shadow_models.class_size,
                    training.epochs or training.private.steps,
                    training.init_std if training.initial == "normal" else training.initial,
                    epsilon(plan),
                    *(guarantee(plan).get(name, "–") for name in accounts),
                    *(held_to_claim(plan, mode) if accounts else ()),
                    "–" if unseen is None else f"{float(unseen):.4f}",
                    auc,
                    *at,
                    hits,
                    false_hits,
                ]
            )
    facts = [
        "class size",
        "epochs or steps",
        "init std",
        EPSILON,
        *accounts.values(),
        *(HELD if accounts else ()),
        "victim accuracy",
    ]
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in wanted]
    return Table(
        ["experiment", "mode", *facts, "AUC", *targets, "TPR at threshold", "FPR at threshold"], rows, "comparison"
    )


def epsilon(plan: Plan) -> float:
    """What the victims' training spent, as their shard says: infinite without noise, NaN where there is no shard."""
    if not plan.experiment.shadow_models.training.private:
        return math.inf
    return guarantee(plan).get("epsilon", math.nan)


def guarantee(plan: Plan) -> dict[str, float]:
    """The account of the victims' private training, by the names of GUARANTEE and epsilon; empty where none is."""
    stage = stage_named("shadow_models")
    victims = next(shard for shard in stage.shards(plan.experiment) if shard.startswith("test"))
    path = plan.path(stage, victims)
    if standing(path, plan.fingerprints(stage)[victims]).state != "done":
        return {}
    record = read_attributes(path)
    return {name: round(float(record[name]), 4) for name in ("epsilon", *GUARANTEE) if name in record}


def held_to_claim(plan: Plan, mode: str) -> list[object]:
    """The audit's lower bound on ε, and pooled over classes the prior's success κ, its ceiling and what was rebuilt."""
    from pipeline.report.table import Interval

    stage = stage_named("privacy")
    shards = stage.shards(plan.experiment)
    path = plan.path(stage, mode) if mode in shards else None
    if path is None or standing(path, plan.fingerprints(stage)[mode]).state != "done":
        return ["–"] * len(HELD)
    record, found = read_attributes(path), read_arrays(path)
    if "epsilon_lower" not in record:
        return ["–"] * len(HELD)
    names = ("prior_success", "ceiling", "rebuilt")
    return [
        round(float(record["epsilon_lower"]), 3),
        *(Interval(*(float(end) for end in found[f"robustness/{name}"][0])) for name in names),
    ]


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


def write_comparison(plans: Sequence[Plan], table: "Table", along: str | None) -> list[str]:
    """CSV and Markdown of the table, and the curve where one key varies; returns what to say of it."""
    experiments = [plan.experiment for plan in plans]
    names = sorted({experiment.name for experiment in experiments})
    directory = located(experiments[0].paths.runs) / "comparisons" / "-".join(names)[:100]
    files = {"comparison.csv": table.csv(), "comparison.md": table.markdown()}
    drawn, said = curve(plans, table, along)
    for name, content in (files | drawn).items():
        atomic_write(directory / name, content)
    return [said, f"written to {directory}: {', '.join(files | drawn)}"]


def curve(plans: Sequence[Plan], table: "Table", along: str | None) -> tuple[dict[str, bytes], str]:
    """Files (name → content) of the rates along the key that varies, or none; and a word on which, or why not."""
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
    shown = ["AUC", f"TPR at FPR {100 * FPR:g} %", "TPR at threshold"]
    for mode in dict.fromkeys(row[1] for row in table.rows):
        rows = sorted(
            (row for row in table.rows if row[1] == mode and row[0] in value_of), key=lambda row: value_of[row[0]]
        )
        series = {name: [row[table.columns.index(name)] for row in rows] for name in shown if name in table.columns}
        drawing = figures.curve([value_of[row[0]] for row in rows], series, key, f"rates, {mode}")
        files |= {f"curve_{mode}.png": style.png(drawing), f"curve_{mode}.pdf": style.pdf(drawing)}
    return files, f"curve along {key}: {', '.join(files)}"
