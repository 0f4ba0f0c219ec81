"""The chapter of a report that a KKT attack fills."""

import numpy as np

from pipeline.kkt.report.figures import curves, picks_sheet, plane, sheet
from pipeline.kkt.report.findings import Findings, answer
from pipeline.kkt.report.tables import (
    classes_table,
    hits_table,
    identification_table,
    loss_table,
    picks_table,
    scores_table,
    trials_table,
)
from pipeline.report.page import Chapter, Section, Table
from pipeline.store import Shards

MOST_TRIALS_SHOWN = 40
IDENTIFICATION_TEXT = (
    " A training image is identified when its match has a higher {score} than those of all its decoys, unlearnt images "
    "of its class: were it unlearnt itself, that would happen by chance. Given the candidates these events are "
    "independent, since no two images share a decoy, and intervals are Clopper and Pearson's, 95 %. Unlearnt stand-ins "
    "for the training images went through the same. The mean image is the training images' own and added to every "
    "candidate, so what it identifies is no attack's merit."
)


def chapter(found: Findings, attack: Shards, shown: int, sort_by: str | None = None) -> Chapter:
    """`shown` images are pictured in a row, sorted by the score `sort_by` (none = that which identifies)."""
    victim, facts = found.victim, found.facts
    validated = float(victim["validation_accuracy"])
    watched = "" if np.isnan(validated) else f", validation accuracy {validated:.3f}"
    text = (
        f"Victim: {victim['method']}, flow time {float(victim['flow_time']):.3g}, loss {float(victim['loss']):.2g}, "
        f"train error {float(victim['train_error']):.3f}, test accuracy {float(victim['test_accuracy']):.3f}{watched}. "
        f"Each training image is matched with its nearest candidate ({facts['metric']}), scaled ({facts['scaling']}) "
        "and scored; nulls go the same way with as many candidates."
    )
    if identifications := identification_table(found):
        text += IDENTIFICATION_TEXT.format(score=facts["identify_by"])
    beside: list[Table] = [scores_table(found)]
    tables = [hits_table(found)]
    tables += [identifications] if identifications else []
    figures = [plane(found, attack) if "plane" in found.arrays else sheet(found, shown, sort_by)]
    if found.structured:
        tables.append(picks_table(found))
        figures.append(picks_sheet(found, shown))
    else:
        tables.append(classes_table(found))
    tables += [loss_table(found)] if "oracle" in found.arrays else []
    trials = trials_table(found)
    (tables if len(trials.rows) <= MOST_TRIALS_SHOWN else beside).append(trials)
    if len(attack.read(attack.names[0], "history/iteration")["history/iteration"]):
        figures.append(curves(found, attack))
    return Chapter([Section("KKT reconstruction", text, tables, figures)], answer(found), beside)
