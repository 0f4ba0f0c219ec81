"""What a KKT attack reports: its hits beside those of nulls, who is identified, the oracle's loss, and pictures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.kkt.analysis.identification import Identification, Rate
from pipeline.kkt.analysis.judgement import PLANE_MARGIN
from pipeline.kkt.analysis.match import HIT
from pipeline.report import kkt_figures
from pipeline.report.kkt_figures import Strip
from pipeline.report.page import Chapter, Figure, Section, Table
from pipeline.store import Shards

SOURCES = {
    "attack": "attack",
    "first_layer": "first layer's weights",
    "held_out": "null: test images",
    "noise": "null: noise",
    "mean_image": "null: mean image",
}
NULLS = ("held_out", "noise", "mean_image")
COUNTED = {"ssim": (0.4,), "correlation": (0.8, 0.9, 0.98)}
TITLES = {"ssim": "SSIM", "correlation": "correlation", "psnr": "PSNR in dB"}
COLOUR_HIT = 0.1
"""Largest error of a channel at which a single pixel counts as recovered."""
MOST_TRIALS_SHOWN = 40
IDENTIFICATION_TEXT = (
    " A training image is identified when its match has a higher {score} than those of all its decoys, unlearnt images "
    "of its class: were it unlearnt itself, that would happen by chance. Given the candidates these events are "
    "independent, since no two images share a decoy, and intervals are Clopper and Pearson's, 95 %. Unlearnt stand-ins "
    "for the training images went through the same. The mean image is the training images' own and added to every "
    "candidate, so what it identifies is no attack's merit."
)


@dataclass(frozen=True)
class Findings:
    """Arrays and attributes of the analysis, and attributes of the victim."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, object]
    victim: Mapping[str, object]

    @property
    def structured(self) -> bool:
        """Whether the images have a structure that SSIM can compare."""
        return not np.isnan(self.arrays["mean_image/ssim"]).all()

    @property
    def score(self) -> str:
        """What images are identified, ranked and pictured by."""
        return str(self.facts["identify_by"]) if self.structured else "psnr"

    @property
    def rule(self) -> str:
        """What counts as a good reconstruction."""
        return f"{TITLES[self.score]} > {HIT[self.score]}"

    @property
    def sources(self) -> list[str]:
        return [source for source in SOURCES if f"{source}/ssim" in self.arrays]

    def identification(self, source: str) -> Identification | None:
        names = (f"{source}/identified", f"{source}/stand_in_identified")
        if names[0] not in self.arrays:
            return None
        return Identification(*(self.arrays[name] for name in names), int(self.facts["decoys"]))


def findings(inputs: Mapping[str, Shards]) -> Findings:
    """From the shards of kkt_victim and kkt_analysis."""
    analysis = inputs["kkt_analysis"]
    return Findings(
        analysis.read("analysis"), analysis.attributes("analysis"), inputs["kkt_victim"].attributes("victim")
    )


# ------------------------------------------------------------------------------------------------------- tables


def counts(found: Findings, source: str) -> dict[str, int]:
    """Hits of a source by every rule: SSIM and correlation, or the error of single pixels."""
    if not found.structured:
        return {f"error ≤ {COLOUR_HIT}": int((found.arrays[f"{source}/max_error"] <= COLOUR_HIT).sum())}
    return {
        f"{TITLES[name]} > {bound}": int((found.arrays[f"{source}/{name}"] > bound).sum())
        for name, bounds in COUNTED.items()
        for bound in bounds
    }


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
    """Who is identified from the attack's candidates, the baseline's and the nulls'; None where nobody has decoys."""
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
    """Of single pixels: the least error to which a candidate meets a training image of each class."""
    labels, errors = found.arrays["labels"], found.arrays["attack/max_error"]
    rows = [[int(label), f"{np.nanmin(errors[labels == label]):.4f}"] for label in np.unique(labels)]
    return Table(["class", "largest error of a channel, best candidate"], rows, "kkt_classes")


def loss_table(found: Findings) -> Table:
    """Where the loss starts, ends and would end with the true data."""
    losses, last = found.arrays["trials/loss"], "final loss of the trials"
    rows = [["λ = 0: ‖θ‖² of the victim", f"{float(found.victim['squared_norm']):.3f}"]]
    rows += [
        [f"true data, best multipliers, α = {sharpness:g}", f"{loss:.3f}"] for sharpness, loss in oracle(found).items()
    ]
    rows.append([f"{last}, least", f"{losses.min():.3f}"])
    rows.append([f"{last}, greatest", f"{losses.max():.3f}"])
    return Table(["stationarity loss at", "value"], rows, "kkt_losses")


def oracle(found: Findings) -> dict[float, float]:
    """Sharpness → loss at the true data; empty where it was not worked out."""
    pairs = found.arrays.get("oracle", np.empty((0, 2)))
    return {float(sharpness): float(loss) for sharpness, loss in pairs if np.isfinite(loss)}


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
    """What an adversary's first distinct candidates are, by each ranking that needs no training image."""
    rows = []
    for name in rankings(found):
        score, other, image = (found.arrays[f"picks/{name}/{part}"] for part in ("score", "held_out_score", "image"))
        hit = score > HIT[found.score]
        by_chance = int((other > HIT[found.score]).sum())
        rows.append([name, len(score), int(hit.sum()), len(set(image[hit].tolist())), by_chance])
    columns = ["ranked by", "picks", found.rule, "different training images", "same with test images"]
    return Table(columns, rows, "kkt_picks")


def rankings(found: Findings) -> list[str]:
    names = ("multiplier", "contrast", "agreement", "random")
    return [name for name in names if f"picks/{name}/score" in found.arrays]


def scores_table(found: Findings) -> Table:
    """Every training image: its candidate, scores, whether it is identified, and what test images score for it."""
    names = ("candidate", "distance", "ssim", "correlation", "l2", "psnr", "max_error")
    columns = {name: found.arrays[f"attack/{name}"] for name in names}
    columns = {"label": found.arrays["labels"], **columns, "test_ssim": found.arrays["held_out/ssim"]}
    if "attack/identified" in found.arrays:
        columns["identified"] = found.arrays["attack/identified"]
    rows = [[place, *values] for place, values in enumerate(zip(*columns.values(), strict=True))]
    return Table(["image", *columns], rows, "kkt_scores")


# ----------------------------------------------------------------------------------------------------- pictures


def sheet(found: Findings, shown: int) -> Figure:
    """Best, median, worst and a random choice of training images over what was rebuilt of them."""
    originals, rebuilt = found.arrays["original"], found.arrays["attack/rebuilt"]
    score = found.arrays[f"attack/{found.score}"]
    order = [place for place in np.argsort(-score, kind="stable") if not np.isnan(score[place])]
    once = np.unique(found.arrays["attack/candidate"][order], return_index=True)[1]
    count, middle = min(shown, len(order)), max(0, (len(order) - shown) // 2)
    choices = {
        "best (each candidate once)": [order[place] for place in sorted(once)[:count]],
        "median": order[middle : middle + count],
        "worst": order[-count:],
        "random": sorted(np.random.default_rng(0).choice(order, count, replace=False)),
    }
    rows = [
        Strip(title, originals[chosen], rebuilt[chosen], [f"{score[place]:.2f}" for place in chosen])
        for title, chosen in choices.items()
    ]
    caption = f"Training images over their reconstructions, with {TITLES[found.score]}."
    return Figure.of(kkt_figures.strips(rows), caption, "kkt_sheet")


def picks_sheet(found: Findings, shown: int) -> Figure:
    rows = []
    for name in rankings(found):
        pixels, image, score = (found.arrays[f"picks/{name}/{part}"][:shown] for part in ("shown", "image", "score"))
        words = [f"{value:.2f}" for value in score]
        rows.append(
            Strip(
                "in random order" if name == "random" else f"by {name}", pixels, found.arrays["original"][image], words
            )
        )
    caption = "An adversary's first picks, ranked without the training set, over the training image nearest to each."
    return Figure.of(kkt_figures.strips(rows), caption, "kkt_picks")


def curves(found: Findings, attack: Shards) -> Figure:
    """Of every trial, from the attack's own shards; grey: trials that are not judged, or did not come to the end."""
    judged = set(found.arrays["trials/number"][json.loads(found.facts["trials_judged"])].tolist())
    iterations, losses, counts_in, number = [], [], [], 0
    for shard in attack.names:
        arrays = attack.read(shard)
        history = arrays.get("history/stationarity", arrays.get("history/confidence"))
        for one in history.T:
            iterations.append(arrays["history/iteration"])
            losses.append(one)
            counts_in.append(number in judged)
            number += 1
    caption = "Leading term of every trial's loss."
    if oracle(found):
        caption += " The dashed line is where the true data end with the best multipliers: lower is not better."
    drawing = kkt_figures.loss_curves(iterations, losses, counts_in, oracle(found))
    return Figure.of(drawing, caption, "kkt_loss")


def plane(found: Findings, attack: Shards) -> Figure:
    points = found.arrays["original"][:, :, 0, 0]
    pool = attack.concatenated("candidates")["candidates"].reshape(-1, 2) + points.mean(0)
    picture = kkt_figures.plane(found.arrays["plane"], PLANE_MARGIN, points, found.arrays["labels"], pool)
    caption = "The victim's two classes, the points it learnt, and the candidates of all trials."
    return Figure.of(picture, caption, "kkt_plane")


# ------------------------------------------------------------------------------------------------------ chapter


def answer(found: Findings) -> str:
    """The attack in a sentence: who is identified, and the hits beside those of the best null."""
    told = []
    if identification := found.identification("attack"):
        rate = Rate.of(identification.identified)
        nulls = [null for source in NULLS if (null := found.identification(source))]
        best_null = max(Rate.of(null.identified).count for null in nulls)
        told.append(
            f"{rate.count} of {rate.total} training images identified among {identification.decoys} unlearnt ones of "
            f"their class each ({100 * rate.value:.0f} %, interval {100 * rate.low:.0f} … {100 * rate.high:.0f} %; "
            f"chance {100 * identification.chance:.0f} %), {'' if identification.is_above() else 'not '}above chance "
            f"and {'' if identification.is_above(nulls) else 'not '}above the best null ({best_null} of {rate.total})"
        )
    if not found.structured:
        told += [f"class {label} met within {error}" for label, error in classes_table(found).rows]
        return "; ".join(told)
    count, most = counts(found, "attack")[found.rule], max(counts(found, source)[found.rule] for source in NULLS)
    told.append(f"{count} with {found.rule}, {most} for the best null")
    return "; ".join(told)


def chapter(found: Findings, attack: Shards, shown: int) -> Chapter:
    """`shown` images are pictured in a row."""
    victim, facts = found.victim, found.facts
    text = (
        f"Victim: {victim['method']}, flow time {float(victim['flow_time']):.3g}, loss {float(victim['loss']):.2g}, "
        f"train error {float(victim['train_error']):.3f}, test accuracy {float(victim['test_accuracy']):.3f}. Each "
        f"training image is matched with its nearest candidate ({facts['metric']}), scaled ({facts['scaling']}) and "
        "scored; nulls go the same way with as many candidates."
    )
    if identifications := identification_table(found):
        text += IDENTIFICATION_TEXT.format(score=facts["identify_by"])
    beside: list[Table] = [scores_table(found)]
    tables = [hits_table(found)]
    tables += [identifications] if identifications else []
    figures = [plane(found, attack) if "plane" in found.arrays else sheet(found, shown)]
    if found.structured:
        tables.append(picks_table(found))
        figures.append(picks_sheet(found, shown))
    else:
        tables.append(classes_table(found))
    tables += [loss_table(found)] if "oracle" in found.arrays else []
    trials = trials_table(found)
    (tables if len(trials.rows) <= MOST_TRIALS_SHOWN else beside).append(trials)
    figures.append(curves(found, attack))
    return Chapter(Section("KKT reconstruction", text, tables, figures), answer(found), beside)
