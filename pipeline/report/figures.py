"""Pictures of scores, curves and reconstructions, in one style."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pipeline.evaluation.curves import LARGEST_MSE, Gaussian, phi
from pipeline.report.style import H0_COLOUR, H1_COLOUR, MARK_COLOUR, METHOD_COLOURS, NULL_STYLES
from pipeline.report.table import Interval


def histogram(h0: np.ndarray, nulls: Mapping[str, np.ndarray], threshold: float) -> Figure:
    """min-MSE of real victims and of each null, the Gaussian fits to φ behind them, and the threshold.

    The first null is filled; of the others there is an outline.
    """
    figure = Figure(figsize=(6.2, 3.2))
    axes = figure.add_subplot()
    bins = np.linspace(0, max(scores.max() for scores in (h0, *nulls.values())), 81)
    main, *others = nulls
    axes.hist(nulls[main].ravel(), bins, density=True, color=H1_COLOUR, label=f"H1: {main.replace('_', ' ')}")
    for name, style in zip(others, NULL_STYLES[1:], strict=False):
        label = f"H1: {name.replace('_', ' ')}"
        axes.hist(nulls[name].ravel(), bins, density=True, histtype="step", color="0.35", linestyle=style, label=label)
    axes.hist(h0.ravel(), bins, density=True, color=H0_COLOUR, alpha=0.75, label="H0: real victims")
    middle = np.linspace(bins[0], bins[-1], 402)[1:-1]
    for scores, colour, label in ((nulls[main], "0.25", "Gaussian fits to φ"), (h0, "#0c3a5c", None)):
        fit = Gaussian.fit(phi(scores))
        if fit.deviation:
            density = np.exp(fit.log_density(phi(middle))) / np.sqrt(2 * np.pi)
            axes.plot(
                middle, density * LARGEST_MSE / (middle * (LARGEST_MSE - middle)), color=colour, lw=1.1, label=label
            )
    axes.axvline(threshold, color=MARK_COLOUR, linestyle="--", label=f"nearest neighbour, {threshold:.4f}")
    axes.set(xlabel="min-MSE, images in [-1, 1]", ylabel="density")
    axes.legend()
    return figure


def roc(fpr: np.ndarray, curves: Mapping[str, np.ndarray], other_nulls: Mapping[str, np.ndarray]) -> Figure:
    """Curves (n, 3) by method, on linear and on logarithmic axes; the first has its band of 95 %.

    other_nulls: (2, m) FPR and TPR of the first method against further nulls.
    """
    figure = Figure(figsize=(6.8, 3.3))
    for axes in figure.subplots(1, 2):
        for place, ((method, curve), colour) in enumerate(zip(curves.items(), METHOD_COLOURS, strict=True)):
            axes.plot(fpr, curve[:, 0], color=colour, lw=1.2 if place else 1.8, label=method.replace("_", "-"))
            if not place:
                axes.fill_between(fpr, curve[:, 1], curve[:, 2], color=colour, alpha=0.2, lw=0)
        for (null, (rates, hits)), style in zip(other_nulls.items(), NULL_STYLES[1:], strict=False):
            label = f"empirical, {null.replace('_', ' ')}"
            axes.plot(rates, hits, color="0.35", linestyle=style, lw=1.2, label=label)
        axes.plot([fpr[0], 1], [fpr[0], 1], color=H1_COLOUR, linestyle=":", lw=1)
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    linear, logarithmic = figure.axes
    linear.legend(loc="lower right")
    shown = np.concatenate([curve[:, 0] for curve in curves.values()])
    least = np.nanmin(np.where(shown > 0, shown, np.nan), initial=fpr[0])
    logarithmic.set(xscale="log", yscale="log", xlim=(fpr[0], 1), ylim=(max(least, fpr[0] / 10), 1.1))
    figure.tight_layout()
    return figure


def bars(labels: Sequence[str], intervals: Mapping[str, Sequence[Interval]], ylabel: str) -> Figure:
    """Groups of bars with their 95 % intervals; a bound has no bar, only its upper end."""
    figure = Figure(figsize=(max(4.2, 0.55 * len(labels) + 1.6), 3.0))
    axes = figure.add_subplot()
    places, width = np.arange(len(labels)), 0.8 / len(intervals)
    for position, ((name, cells), colour) in enumerate(zip(intervals.items(), METHOD_COLOURS, strict=False)):
        table = np.array([cell[:3] for cell in cells], dtype=float)
        height = np.where([cell.bound for cell in cells], 0.0, table[:, 0])
        errors = np.maximum([height - table[:, 1], table[:, 2] - height], 0)
        at = places + (position - (len(intervals) - 1) / 2) * width
        axes.bar(at, height, width * 0.92, color=colour, alpha=0.85, label=name)
        axes.errorbar(at, height, errors, fmt="none", ecolor="0.2", elinewidth=0.9, capsize=2)
    axes.set_xticks(places, labels)
    axes.set(ylabel=ylabel, ylim=(0, 1.02))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=len(intervals))
    return figure


def recovered(counts: np.ndarray) -> Figure:
    """Victims by how many of their images are recovered: counts (2, R + 1) of H0 and of H1."""
    figure = Figure(figsize=(6.2, 2.6))
    axes = figure.add_subplot()
    places = np.arange(counts.shape[1])
    for shift, row, colour, label in ((-0.2, counts[0], H0_COLOUR, "H0"), (0.2, counts[1], H1_COLOUR, "H1")):
        axes.bar(places + shift, row / row.sum(), 0.38, color=colour, label=label)
    axes.set_xticks(places)
    axes.set(xlabel="reconstructions of a victim below the nearest-neighbour threshold", ylabel="share of victims")
    axes.grid(axis="x", visible=False)
    axes.legend()
    return figure


def curve(values: Sequence[float], series: Mapping[str, Sequence[Interval]], key: str, ylabel: str) -> Figure:
    """Rates with their intervals against the one key that varies; logarithmic where the key spans a decade or more."""
    figure = Figure(figsize=(4.8, 3.3))
    axes = figure.add_subplot()
    for (name, cells), colour in zip(series.items(), METHOD_COLOURS, strict=False):
        table = np.array([cell[:3] for cell in cells], dtype=float)
        axes.plot(values, np.where([cell.bound for cell in cells], np.nan, table[:, 0]), "o-", color=colour, label=name)
        axes.fill_between(values, table[:, 1], table[:, 2], color=colour, alpha=0.18, lw=0)
    if min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
    axes.set(xlabel=key, ylabel=ylabel, ylim=(0, 1.02))
    axes.legend()
    return figure


def sheet(originals: np.ndarray, *rebuilt: tuple[np.ndarray, np.ndarray]) -> Figure:
    """Rows of originals (R, K, C, S, S) uint8, under each what was rebuilt of them.

    `rebuilt`: pictures (R, K, C, S, S), a row each, and which of them are hits (R, K); the others are crossed out.
    """
    rows, columns, _, side, _ = originals.shape
    of_each = 1 + len(rebuilt)
    figure = Figure(figsize=(0.62 * columns, 0.67 * of_each * rows))
    axes = figure.subplots(of_each * rows, columns, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for row in range(rows):
        for column in range(columns):
            for offset, pictures in enumerate((originals, *(pictures for pictures, _ in rebuilt))):
                image, cell = pictures[row, column], axes[of_each * row + offset, column]
                cell.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
                cell.set(xticks=[], yticks=[])
                cell.grid(False)
                for spine in cell.spines.values():
                    spine.set_visible(False)
            for offset, (_, hits) in enumerate(rebuilt, 1):
                if not hits[row, column]:
                    cell = axes[of_each * row + offset, column]
                    cell.plot([0, side - 1], [side - 1, 0], color=MARK_COLOUR, linewidth=0.8)
    return figure
