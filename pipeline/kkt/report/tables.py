"""Tables of a KKT attack: its hits beside those of nulls, who is identified, the oracle's loss, trials and picks."""

import json

import numpy as np

from pipeline.kkt.analysis.identification import Rate
from pipeline.kkt.analysis.match import HIT
from pipeline.kkt.report.findings import NULLS, SOURCES, TITLES, Findings, class_errors, counts, oracle
from pipeline.report.page import Table


def hits_table(found: Findings) -> Table:
    """A row for the attack, the baseline and each null, and the attack's margin over the best of the nulls."""
    rules = list(counts(found, "attack"))
    pool_sizes = json.loads(found.facts["pool_sizes"])
    rows = []
    for source in found.sources:
        score = found.arrays[f"{source}/{found.score}"]
        middle, top = np.nanmedian(score), np.nanmax(score)
        ends = f"{middle:.2f}, {top:.2f}"
        rows.append([SOURCES[source], pool_sizes[source], *counts(found, source).values(), ends])
    nulls = [list(counts(found, source).values()) for source in NULLS]
    margin = np.array(list(counts(found, "attack").values())) - np.max(nulls, axis=0)
    rows.append(["attack − best null", "", *(f"{value:+d}" for value in margin), ""])
    columns = ["candidates from", "pool", *rules, f"median, best {TITLES[found.score]}"]
    return Table(columns, rows, "kkt_hits")


def rate_text(rate: Rate) -> str:
    return f"{rate.value:.3f} ({rate.low:.3f} … {rate.high:.3f})"


def identification_table(found: Findings) -> Table | None:
    """Images identified from candidates of the attack, the baseline and the nulls; None where there are no decoys."""
    of = {source: one for source in found.sources if (one := found.identification(source))}
    nulls = [of[source] for source in NULLS if source in of]
    rows = []
    for source, one in of.items():
        own, stand_ins = Rate.of(one.identified), Rate.of(one.stand_in_identified)
        verdicts = [
            "yes" if one.is_above() else "no",
            "" if source in NULLS else "yes" if one.is_above(nulls) else "no",
        ]
        identified = f"{own.count} of {own.total}"
        rows.append([SOURCES[source], identified, rate_text(own), f"{one.chance:.3f}", rate_text(stand_ins), *verdicts])
    columns = ["candidates from", "identified", "rate", "chance", "rate of stand-ins", "above chance", "above nulls"]
    return Table(columns, rows, "kkt_identification") if rows else None


def classes_table(found: Findings) -> Table:
    """Of single pixels: how near the best candidate comes to a training image of each class."""
    rows = [[label, f"{error:.4f}"] for label, error in class_errors(found).items()]
    return Table(["class", "largest error of a channel, best candidate"], rows, "kkt_classes")


def loss_table(found: Findings) -> Table:
    """Where the loss starts, ends and would end with the true data."""
    losses, last = found.arrays["trials/loss"], "final loss of the trials"
    rows = [["λ = 0: ‖θ‖² of the victim", f"{float(found.victim['squared_norm']):.3f}"]]
    rows += [
        [f"true data, best multipliers, α = {sharpness:g}", f"{loss:.3f}"] for sharpness, loss in oracle(found).items()
    ]
    if not np.isnan(losses).all():  # which those of imported candidates are
        rows.append([f"{last}, least", f"{np.nanmin(losses):.3f}"])
        rows.append([f"{last}, greatest", f"{np.nanmax(losses):.3f}"])
    return Table(["stationarity loss at", "value"], rows, "kkt_losses")


def trials_table(found: Findings) -> Table:
    """Every trial: what it drew, as far as trials differ, how it ended, and its hits, which only who has the training
    set can count.
    """
    names = {
        name.removeprefix("trials/"): values for name, values in found.arrays.items() if name.startswith("trials/")
    }
    drawn = sorted(name for name in names if name.startswith("hyperparameters/") and len(set(names[name])) > 1)
    ends = sorted(name for name in names if "/" not in name and name not in ("number", "loss", "agreement", "hits"))
    judged = set(json.loads(found.facts["trials_judged"]))
    columns = ["trial", *(name.removeprefix("hyperparameters/").replace("_", " ") for name in drawn)]
    columns += [*ends, "loss", "agreement", *([f"{found.rule} (training set)"] if found.structured else []), "judged"]
    rows = []
    for place, number in enumerate(names["number"]):
        values = [names[name][place] for name in (*drawn, *ends, "loss", "agreement")]
        told = ["–" if np.isnan(value) else f"{value:.4g}" for value in values]
        hits = [int(names["hits"][place])] if found.structured else []
        rows.append([int(number), *told, *hits, "yes" if place in judged else "no"])
    return Table(columns, rows, "kkt_trials")


def picks_table(found: Findings) -> Table:
    """What an adversary's first distinct candidates are, by each ranking that needs no training image.

    The interval of the precision is Clopper and Pearson's over picks, 95 %.
    """
    rows = []
    for name in rankings(found):
        score, other, image = (found.arrays[f"picks/{name}/{part}"] for part in ("score", "held_out_score", "image"))
        hit = score > HIT[found.score]
        by_chance = int((other > HIT[found.score]).sum())
        precision = rate_text(Rate.of(hit))
        rows.append([name, len(score), int(hit.sum()), precision, len(set(image[hit].tolist())), by_chance])
    columns = ["ranked by", "picks", found.rule, "precision", "different training images", "same with test images"]
    return Table(columns, rows, "kkt_picks")


def rankings(found: Findings) -> list[str]:
    names = ("multiplier", "support", "contrast", "agreement", "random")
    return [name for name in names if f"picks/{name}/score" in found.arrays]


def scores_table(found: Findings) -> Table:
    """Every training image: its candidate, scores, whether it is identified, and what test images score for it."""
    names = ("candidate", "distance", "ssim", "correlation", "ncc", "l2", "psnr", "max_error")
    columns = {name: found.arrays[f"attack/{name}"] for name in names}
    columns = {"label": found.arrays["labels"], **columns, "test_ssim": found.arrays["held_out/ssim"]}
    if "attack/identified" in found.arrays:
        columns["identified"] = found.arrays["attack/identified"]
    rows = [[place, *values] for place, values in enumerate(zip(*columns.values(), strict=True))]
    return Table(["image", *columns], rows, "kkt_scores")
