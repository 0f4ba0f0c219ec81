"""What the report says of private training: the guarantee, what it allows at each rate, and whether the scores obey."""

from collections.abc import Mapping

import numpy as np

from pipeline.report import figures
from pipeline.report.page import Figure, Section
from pipeline.report.table import Interval, Table

Arrays = Mapping[str, np.ndarray]
GUARANTEE = {
    "epsilon": "claimed ε",
    "delta": "δ",
    "noise_multiplier": "noise multiplier σ",
    "sample_rate": "sample rate q",
    "steps": "steps T",
    "clip_norm": "clip norm",
}


EVIDENCE = {"reconstructions of the victims": "", "a crafted canary, the training itself audited": "canary/"}


def guarantee_said(record: Mapping[str, object]) -> str:
    """The guarantee of private training in one phrase, from the attributes of a shard that carries it."""
    values = {name: float(record[name]) for name in GUARANTEE}
    return (
        f"(ε, δ) = ({values['epsilon']:.3g}, {values['delta']:.2g}) by noise multiplier σ = "
        f"{values['noise_multiplier']:g}, sample rate q = {values['sample_rate']:g}, T = {values['steps']:g} steps and "
        f"clip norm {values['clip_norm']:g}"
    )


def guarantee_table(facts: Mapping[str, object], file: str) -> Table:
    """The claim beside the lower bounds on ε, where there was an audit."""
    claim, rows = [f"{float(facts[name]):.4g}" for name in GUARANTEE], []
    for words, prefix in EVIDENCE.items():
        if f"{prefix}refuted" not in facts:
            continue
        names = ("epsilon_lower", "family_epsilon", "family_noise")
        bounds = [f"{float(facts[prefix + name]):.3g}" for name in names]
        rows.append([words, *claim, *bounds, "refuted" if facts[f"{prefix}refuted"] else "not refuted"])
    columns = ["evidence", *GUARANTEE.values(), "ε at least", "ε at least, were it DP-SGD", "σ at most, were it DP-SGD"]
    return Table([*columns, "claim"], rows or [["none", *claim, "–", "–", "–", "–"]], file)


def rates_table(rates: Arrays, found: Arrays, null: str, file: str) -> Table:
    """TPR at each wanted FPR beside 1 − f there; "above" where the interval of that rate lies above it."""
    rows = []
    for place, fpr in enumerate(rates["false_positive_rates"]):
        resolved = rates[f"{null}/resolved"][0, place]
        cell = Interval(*rates[f"{null}/tpr"][0, 0, place], bound=not resolved)
        ceiling = float(found[f"{null}/wanted_ceiling"][place])
        rows.append(
            [f"{100 * fpr:g} %", cell, f"{ceiling:.4f}", "above" if resolved and cell.low > ceiling else "below"]
        )
    return Table(["FPR", f"TPR, {null.replace('_', ' ')}", "1 − f", "interval"], rows, file)


def robustness_table(found: Arrays, file: str) -> Table:
    scopes = ["pooled", *(f"class {k}" for k in range(len(found["robustness/rebuilt"]) - 1))]
    names = ("rebuilt", "prior_success", "ceiling")
    rows = [
        [scope, *(Interval(*found[f"robustness/{name}"][place]) for name in names)]
        for place, scope in enumerate(scopes)
    ]
    columns = ["scope", "rebuilt within the threshold", "κ, best guess without the model", "ceiling 1 − f(κ)"]
    return Table(columns, rows, file)


def crossings(rates: Arrays, found: Arrays, null: str) -> np.ndarray:
    """The false-positive rates at which the pooled curve's own interval lies above 1 − f."""
    return rates[f"{null}/curve_fpr"][0][found[f"{null}/above"][0]]


def warnings_of(rates: Arrays, found: Arrays, facts: Mapping[str, object]) -> list[str]:
    said = []
    if facts.get("canary/refuted"):
        said.append(
            "The DP claim is refuted by the audit of the training itself: with 95 % confidence heads trained with and "
            f"without a crafted canary differ by ε ≥ {float(facts['canary/family_epsilon']):.3g} of DP-SGD, more than "
            f"the claimed {float(facts['epsilon']):.3g}."
        )
    if "refuted" not in facts:
        return [
            *said,
            "No null here is bounded by f. To hold the claim against these victims, add minus_one to evaluation.nulls.",
        ]
    if facts["refuted"]:
        bounds = " and ".join(f"TPR ≥ {tpr:.3f} at FPR ≤ {fpr:.4f}" for tpr, fpr in found["audit/bounds"])
        said.append(
            f"The DP claim is refuted: on held-out victims, with 95 % confidence, {bounds}, more than f allows. The "
            "training adds less noise than it states, or clips or samples otherwise."
        )
    if len(above := crossings(rates, found, "minus_one")):
        said.append(
            f"Against the minus-one null the curve lies beyond its interval above f at FPR {above.min():.2g} … "
            f"{above.max():.2g}. Each point's interval holds by itself: somewhere on their curve, 10 to 27 % of honest "
            "mechanisms do so too (benchmarks.privacy). The audit, which holds as a whole, "
            f"{'refutes' if facts['refuted'] else 'does not refute'} the claim."
        )
    return said


def section(rates: Arrays, found: Arrays, facts: Mapping[str, object], nulls: list[str], mode: str) -> Section:
    """`rates`: the roc shard of a mode; `found` and `facts`: arrays and attributes of its privacy shard."""
    judged = "minus_one" in nulls
    main = "minus_one" if judged else nulls[0]
    text = (
        f"Training claims {guarantee_said(facts)}. With that, no test tells a head trained with a record from one "
        "trained without it better than TPR = 1 − f(FPR), f the trade-off function of DP-SGD (PRV accountant). This "
        "bounds the minus-one null alone; other nulls change every record of the training set, so their curves may lie "
        "above f and refute nothing."
    )
    tables = [guarantee_table(facts, f"privacy_{mode}"), rates_table(rates, found, main, f"privacy_rates_{mode}")]
    text += (
        " The lower bounds on ε of a row hold together with 95 % confidence, thresholds chosen on one half of the "
        "heads and rates taken on the other: at the claimed δ whatever the mechanism, and for DP-SGD of the stated "
        "q and T. The canary is a record orthogonal to all others; its adversary knows them and the initial weights."
    )
    if judged:
        text += (
            " Reconstruction robustness: an adversary who knows all other records rebuilds at most 1 − f(κ) of them, "
            "κ the success of the best guess without the model; κ is measured by the best guess that was found."
        )
        tables.append(robustness_table(found, f"robustness_{mode}"))
    curves = {
        null: (rates[f"{null}/curve_fpr"][0], rates[f"{null}/curve"][0, 0])
        for null in sorted(nulls, key=lambda null: null != main)
    }
    mark = (found["robustness/prior_success"][0], found["robustness/ceiling"][0]) if judged else None
    rebuilt = found["robustness/rebuilt"][0] if judged else None
    drawing = figures.private_roc(curves, found[f"{main}/ceiling"][0], mark, rebuilt)
    caption = (
        "Empirical ROC, pooled, with its 95 % band, under 1 − f. "
        + ("Only the minus-one null is bounded by f. " if judged else "None of these nulls is bounded by f. ")
        + ("The points stand at κ: ceiling, and what was rebuilt within the threshold. " if judged else "")
        + f"The numbers: curve_{mode}.csv, privacy_rates_{mode}.csv."
    )
    return Section(
        f"Privacy, {mode}",
        text,
        tables,
        [Figure.of(drawing, caption, f"privacy_{mode}")],
        warnings=warnings_of(rates, found, facts),
    )
