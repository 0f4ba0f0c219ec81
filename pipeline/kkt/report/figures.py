"""Pictures of a KKT attack: sheets of reconstructions, an adversary's picks, loss curves, and the plane of a toy."""

import json

import numpy as np

from pipeline.kkt.analysis.judgement import PLANE_MARGIN
from pipeline.kkt.report import drawings
from pipeline.kkt.report.drawings import Strip
from pipeline.kkt.report.findings import DISTANCES, TITLES, Findings, oracle
from pipeline.kkt.report.tables import rankings
from pipeline.report.page import Figure
from pipeline.store import Shards


def sheet(found: Findings, shown: int, sort_by: str | None) -> Figure:
    """Best, median, worst and a random choice of training images over what was rebuilt of them, by that score (none =
    what images are identified by).
    """
    originals, rebuilt = found.arrays["original"], found.arrays["attack/rebuilt"]
    sort_by = sort_by or found.score
    score = found.arrays[f"attack/{sort_by}"]
    worse = score if sort_by in DISTANCES else -score
    order = [place for place in np.argsort(worse, kind="stable") if not np.isnan(score[place])]
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
    caption = f"Training images over their reconstructions, with {TITLES[sort_by]}."
    return Figure.of(drawings.strips(rows), caption, "kkt_sheet")


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
    return Figure.of(drawings.strips(rows), caption, "kkt_picks")


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
    drawing = drawings.loss_curves(iterations, losses, counts_in, oracle(found))
    return Figure.of(drawing, caption, "kkt_loss")


def plane(found: Findings, attack: Shards) -> Figure:
    points = found.arrays["original"][:, :, 0, 0]
    pool = attack.concatenated("candidates")["candidates"].reshape(-1, 2) + found.arrays["mean"][:, 0, 0]
    picture = drawings.plane(found.arrays["plane"], PLANE_MARGIN, points, found.arrays["labels"], pool)
    caption = "The victim's two classes, the points it learnt, and the candidates of all trials."
    return Figure.of(picture, caption, "kkt_plane")
