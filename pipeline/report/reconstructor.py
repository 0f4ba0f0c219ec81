"""What the reconstructor attack reports: rates with intervals, histogram, curve and a sheet of reconstructions."""

from collections.abc import Mapping

import numpy as np

from pipeline.report import figures
from pipeline.report.page import Chapter, Figure, Section, Table


def interval(triple: np.ndarray, bound: bool = False) -> str:
    value, low, high = triple
    return f"≤ {high:.3f}" if bound else f"{value:.3f} ({low:.3f} … {high:.3f})"


def rates_table(roc: Mapping[str, np.ndarray], mode: str) -> Table:
    """One row per scope: pooled, then every class."""
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in roc["false_positive_rates"]]
    columns = ["scope", "AUC", *targets, "TPR at threshold", "FPR at threshold"]
    rows = []
    for position in range(len(roc["auc"])):
        at_rates = [
            interval(triple, bound)
            for triple, bound in zip(roc["tpr"][position], roc["tpr_bound"][position], strict=True)
        ]
        scope = f"class {position - 1}" if position else "pooled"
        ends = [interval(roc[name][position]) for name in ("threshold_tpr", "threshold_fpr")]
        rows.append([scope, interval(roc["auc"][position]), *at_rates, *ends])
    return Table(columns, rows, f"rates_{mode}")


def scores_table(scores: Mapping[str, np.ndarray], mode: str) -> Table:
    """Every score: victim, group (class, or 0), H0, H1, and the test image that H0's reconstruction is nearest to."""
    h0, h1, nearest = (scores[name] for name in ("h0", "h1", "nearest"))
    rows = [
        [victim, group, h0[victim, group], h1[victim, group], nearest[victim, group]]
        for victim, group in np.ndindex(h0.shape)
    ]
    return Table(["victim", "group", "h0", "h1", "nearest_image"], rows, f"scores_{mode}")


def chapter(
    mode: str,
    roc: Mapping[str, np.ndarray],
    threshold: float,
    scores: Mapping[str, np.ndarray],
    images: np.ndarray,
    shown: int,
) -> Chapter:
    """`images` (n, C, S, S) uint8 are the test split; `shown` victims are pictured, evenly from best to worst."""
    h0, h1, nearest, rebuilt = (scores[name] for name in ("h0", "h1", "nearest", "rebuilt"))
    ranked = np.argsort(h0.mean(1), kind="stable")
    chosen = ranked[np.linspace(0, len(ranked) - 1, min(shown, len(ranked))).round().astype(int)]
    sheet = figures.sheet(images[nearest[chosen]], rebuilt[chosen], h0[chosen] <= threshold)
    text = (
        f"{len(h0)} victims with {h0.shape[1]} reconstructions. Mean min-MSE {h0.mean():.4f} for real victims (H0), "
        f"{h1.mean():.4f} for weights that saw none of the images (H1). Intervals are 95 %, from resampling victims; "
        "≤ marks a rate below what the sample can resolve."
    )
    answer = (
        f"{mode}: AUC {roc['auc'][0, 0]:.3f}, {100 * roc['threshold_tpr'][0, 0]:.0f} % of images nearer than a "
        "relative would be"
    )
    section = Section(
        f"Reconstruction, {mode}",
        text,
        [rates_table(roc, mode)],
        [
            Figure(figures.histogram(h0, h1, threshold), "min-MSE of real victims and of the null."),
            Figure(figures.roc(*roc["curve"], 1 / h1.size), "ROC, pooled, on linear and on logarithmic axes."),
            Figure(
                sheet,
                "Originals over reconstructions, victims from best to worst in even steps; a red line marks a "
                "reconstruction farther from its original than the nearest-neighbour threshold.",
            ),
        ],
    )
    return Chapter(section, answer, [scores_table(scores, mode)])
