"""What the report says of adversaries without the model, beside the attack."""

from collections.abc import Mapping

import numpy as np

from pipeline.evaluation.prior_guesses import ADVERSARIES
from pipeline.reconstruction.chapter import Outcome
from pipeline.report.page import Section
from pipeline.report.table import Interval, Table

Arrays = Mapping[str, np.ndarray]


def section(outcome: Outcome, baselines: Arrays) -> Section:
    """`baselines`: a shard of the stage of that name."""
    h0, threshold, mode = outcome.scores["h0/min_mse"], outcome.threshold, outcome.mode
    attack = Interval(*outcome.rates(outcome.main_null)["threshold_tpr"][0])
    rows = [["the attack, from the weights", f"{h0.mean():.4f}", attack]]
    for name, words in ADVERSARIES.items():
        rows.append([words, f"{baselines[f'{name}/min_mse'].mean():.4f}", Interval(*baselines[f"{name}/hits"][0])])
    table = Table(["adversary", "mean min-MSE", "share within the threshold"], rows, f"baselines_{mode}")
    best, words = max((Interval(*baselines[f"{name}/hits"][0]), words) for name, words in ADVERSARIES.items())
    text = (
        f"How often a guess from the adversary's own images alone comes within the threshold {threshold:.4f} of an "
        "image that trained the victim. Guesses are chosen on the adversary's images and scored on the victims'; the "
        "interval is 95 %, victims the unit."
    )
    warnings = []
    if attack.low <= best.high:
        warnings.append(
            f"At the threshold the attack does not clearly exceed an adversary without the model: {attack} against "
            f"{best} ({words})."
        )
    beside = [
        [f"class {group}", *(Interval(*baselines[f"{name}/hits"][group + 1]) for name in ADVERSARIES)]
        for group in range(h0.shape[1])
    ]
    tables = [table]
    if h0.shape[1] > 1:
        tables.append(Table(["share within the threshold", *ADVERSARIES.values()], beside, f"baselines_classes_{mode}"))
    return Section(f"Without the model, {mode}", text, tables, warnings=warnings)
