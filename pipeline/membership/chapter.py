"""What the report says of membership inference, beside reconstruction of the same victims."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.attack import Finished
from pipeline.errors import UserError
from pipeline.privacy.section import GUARANTEE
from pipeline.report import figures
from pipeline.report.page import Chapter, Figure, Section
from pipeline.report.table import Interval, Table

NAMES = {"lira_online": "LiRA, online", "lira_offline": "LiRA, offline", "rmia": "RMIA"}
KEYS = ("auc", "tpr", "resolved", "curve_fpr", "curve")
Arrays = Mapping[str, np.ndarray]


def chapter(
    found: Arrays,
    facts: Mapping[str, object],
    attacks: Sequence[str],
    nulls: Sequence[str],
    reconstruction: Mapping[str, Arrays],
    shadows: int,
) -> Chapter:
    """`found` and `facts`: the shard of the stage membership. reconstruction: mode → its shard of roc."""
    wanted = found["false_positive_rates"]
    curves = {null: curves_of(found, attacks, null, reconstruction) for null in nulls}
    rows = [[name, null.replace("_", " "), auc, *at] for null in nulls for name, (auc, at, _) in curves[null].items()]
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in wanted]
    tables = [Table(["attack", "null", "AUC", *targets], rows, "membership")]
    text = (
        f"Whether an image was in the training set of a victim, by the head's confidence in its class, with {shadows} "
        "shadow models that never saw it and, online and for RMIA, as many that did. The null of other victims scores "
        "the same images on heads trained on others; minus one, on heads trained on the same set without the image. "
        "Reconstruction is scored on the same victims against the same null; its scores are of images that it must "
        "find, membership's of images that it is shown. Intervals are 95 %, victims resampled."
    )
    warnings = []
    if audits := [name for name in attacks if f"{name}/refuted" in facts]:
        verdicts = [[NAMES[name], *audit_cells(facts, name)] for name in audits]
        columns = ["attack", *GUARANTEE.values(), "ε at least", "ε at least, were it DP-SGD", "claim"]
        tables.append(Table(columns, verdicts, "membership_audit"))
        warnings = [
            f"{NAMES[name]} refutes the DP claim: its rates against the minus-one null exceed f with 95 % confidence."
            for name in audits
            if facts[f"{name}/refuted"]
        ]
    drawn = []
    for null in nulls:
        first = f"{attacks[0]}/{null}"
        ceiling = (found[f"{first}/curve_fpr"], found[f"{first}/ceiling"]) if f"{first}/ceiling" in found else None
        lines = {name: curve for name, (_, _, curve) in curves[null].items()}
        caption = (
            f"ROC against the null {null.replace('_', ' ')}, the first with its 95 % band. The numbers: "
            f"membership_curve_{null}.csv."
        )
        drawing = figures.several_rocs(lines, ceiling)
        drawn.append(Figure.of(drawing, caption, f"membership_{null}"))
    best, (auc, _, _) = max(
        ((name, curves[nulls[0]][NAMES[name]]) for name in attacks), key=lambda item: item[1][0].value
    )
    answer = f"membership: AUC {auc} by {NAMES[best]}"
    beside = [curve_table(curves[null], f"membership_curve_{null}") for null in nulls]
    return Chapter([Section("Membership inference", text, tables, drawn, warnings=warnings)], answer, beside)


def comparison(finished: Sequence[Finished]) -> Table:
    """One row per experiment and attack. Raises Failure where an experiment is not finished, UserError where they quote
    other false-positive rates."""
    rows, wanted = [], None
    for one in finished:
        shards = one.shards_of("membership")
        (shard,) = shards.names
        found, attacks = shards.read(shard), one.experiment.membership.attacks
        if wanted is not None and tuple(found["false_positive_rates"]) != wanted:
            raise UserError("compare: the experiments have other evaluation.false_positive_rates; give all the same")
        wanted = tuple(found["false_positive_rates"])
        for name, (auc, at, _) in curves_of(found, attacks, "other_victims", {}).items():
            rows.append([one.experiment.title, name, auc, *at])
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in wanted or ()]
    return Table(["experiment", "attack", "AUC", *targets], rows, "membership_comparison")


def curve_table(curves: Mapping[str, tuple], file: str) -> Table:
    rows = [
        [name, at, Interval(*triple)]
        for name, (_, _, (fpr, tpr)) in curves.items()
        for at, triple in zip(fpr, tpr, strict=True)
    ]
    return Table(["attack", "FPR", "TPR"], rows, file)


def audit_cells(facts: Mapping[str, object], attack: str) -> list[str]:
    bounds = (f"{float(facts[f'{attack}/{name}']):.3g}" for name in ("epsilon_lower", "family_epsilon"))
    claim = (f"{float(facts[name]):.4g}" for name in GUARANTEE)
    return [*claim, *bounds, "refuted" if facts[f"{attack}/refuted"] else "not refuted"]


def curves_of(
    found: Arrays, attacks: Sequence[str], null: str, reconstruction: Mapping[str, Arrays]
) -> dict[str, tuple[Interval, list[Interval], tuple[np.ndarray, np.ndarray]]]:
    """Attack → AUC, TPR at each wanted FPR, and (FPR (n,), TPR (n, 3)); reconstruction's where it has this null."""
    tables = {NAMES[name]: {key: found[f"{name}/{null}/{key}"] for key in KEYS} for name in attacks}
    for mode, roc in reconstruction.items():
        if f"{null}/auc" in roc:
            pooled = {key: roc[f"{null}/{key}"][0] for key in KEYS}
            tables[f"reconstruction, {mode}"] = pooled | {key: pooled[key][0] for key in ("tpr", "curve")}
    return {
        name: (
            Interval(*table["auc"]),
            [
                Interval(*triple, bound=not resolved)
                for triple, resolved in zip(table["tpr"], table["resolved"], strict=True)
            ],
            (table["curve_fpr"], table["curve"]),
        )
        for name, table in tables.items()
    }
