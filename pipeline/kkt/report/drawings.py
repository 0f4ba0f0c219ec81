"""Pictures of KKT attacks: strips of originals over reconstructions, loss curves, and the plane of a toy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from pipeline.report.style import H0_COLOUR, H1_COLOUR, MARK_COLOUR

GAP = 0.06
"""Between images of a strip, in sides of an image."""


@dataclass(frozen=True)
class Strip:
    """Images (K, C, H, W) in [0, 1] over other images, each pair with a word under it."""

    title: str
    upper: np.ndarray
    lower: np.ndarray
    words: Sequence[str]


def strips(rows: Sequence[Strip]) -> Figure:
    """One pair of rows of images for each strip."""
    columns = max(len(row.words) for row in rows)
    figure = Figure(figsize=(0.72 * columns + 0.9, 1.75 * len(rows)))
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        for level, images in enumerate((row.upper, row.lower)):
            for column, image in enumerate(images):
                left, bottom = column * (1 + GAP), (1 - level) * (1 + GAP)
                shown = np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3)).clip(0, 1)
                axes.imshow(shown, extent=(left, left + 1, bottom, bottom + 1), interpolation="nearest")
        for column, word in enumerate(row.words):
            axes.text(column * (1 + GAP) + 0.5, -0.08, word, ha="center", va="top", fontsize=7)
        axes.set(xlim=(0, columns * (1 + GAP)), ylim=(-0.35, 2 + GAP), aspect="equal")
        axes.set_title(row.title, loc="left", fontsize=8)
        axes.axis("off")
    figure.tight_layout()
    return figure


def loss_curves(
    iterations: Sequence[np.ndarray],
    losses: Sequence[np.ndarray],
    judged: Sequence[bool],
    oracle: Mapping[float, float],
) -> Figure:
    """Loss over iterations, one line a trial; `oracle`: sharpness → the loss at the true data."""
    figure = Figure(figsize=(6.2, 3.0))
    axes = figure.add_subplot()
    for steps, values, counts in zip(iterations, losses, judged, strict=True):
        axes.plot(steps, values, color=H0_COLOUR if counts else H1_COLOUR, linewidth=0.9, alpha=0.7)
    for sharpness, value in oracle.items():
        axes.axhline(value, color=MARK_COLOUR, linestyle="--", linewidth=1, label=f"true data, α = {sharpness:g}")
    axes.set(xlabel="iteration", ylabel="loss")
    if oracle:
        axes.legend()
    return figure


def plane(logits: np.ndarray, margin: float, points: np.ndarray, labels: np.ndarray, candidates: np.ndarray) -> Figure:
    """Where a two-dimensional victim says which class (G, G), training points (n, 2) and candidates (M, 2)."""
    figure = Figure(figsize=(4.6, 4.4))
    axes = figure.add_subplot()
    span = (-margin, 1 + margin)
    axes.imshow(logits > 0, extent=(*span, *span), origin="lower", cmap="coolwarm", alpha=0.25, aspect="equal")
    axes.contour(*[np.linspace(*span, len(logits))] * 2, logits, levels=[0], colors="black", linewidths=0.8)
    axes.scatter(*candidates.T, s=9, marker="x", color="black", linewidths=0.7, label="candidates")
    for label, colour in ((0, H0_COLOUR), (1, MARK_COLOUR)):
        own = points[labels == label]
        axes.scatter(*own.T, s=26, color=colour, edgecolors="white", linewidths=0.6, label=f"training, class {label}")
    axes.set(xlim=span, ylim=span)
    axes.legend(loc="upper right", fontsize=7).get_frame().set_visible(True)
    axes.grid(False)
    return figure
