"""Pictures of scores, curves and reconstructions, as PNG bytes in one style."""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "lines.linewidth": 1.6,
        "legend.frameon": False,
    }
)
H0_COLOUR, H1_COLOUR, MARK_COLOUR = "#1b6ca8", "#b0b0b0", "#c0392b"


def png(figure: Figure) -> bytes:
    """The figure as a PNG, equal bytes for equal data."""
    stream = io.BytesIO()
    # matplotlib writes its version into a PNG unless told not to; pictures of equal data should be equal bytes
    figure.savefig(stream, format="png", dpi=144, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def histogram(h0: np.ndarray, h1: np.ndarray, threshold: float) -> bytes:
    """Distributions of the min-MSE of real victims and of the null, with the nearest-neighbour threshold."""
    figure = Figure(figsize=(6.2, 3.0))
    axes = figure.add_subplot()
    bins = np.linspace(0, max(h0.max(), h1.max()), 80)
    axes.hist(h1.ravel(), bins, density=True, color=H1_COLOUR, label="H1: weights that saw none of the images")
    axes.hist(h0.ravel(), bins, density=True, color=H0_COLOUR, alpha=0.75, label="H0: real victims")
    axes.axvline(threshold, color=MARK_COLOUR, linestyle="--", label=f"nearest neighbour, {threshold:.4f}")
    axes.set(xlabel="min-MSE, images in [-1, 1]", ylabel="density")
    axes.legend()
    return png(figure)


def roc(fpr: np.ndarray, tpr: np.ndarray, smallest: float) -> bytes:
    """The curve on linear and on logarithmic axes; `smallest` is the lowest rate that the sample resolves."""
    figure = Figure(figsize=(6.8, 3.1))
    linear, logarithmic = figure.subplots(1, 2)
    for axes in (linear, logarithmic):
        axes.plot(fpr, tpr, color=H0_COLOUR, drawstyle="steps-post")
        axes.plot([smallest, 1], [smallest, 1], color=H1_COLOUR, linestyle=":")
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    logarithmic.set(xscale="log", yscale="log", xlim=(smallest, 1), ylim=(min(smallest, max(tpr[1], 1e-6)), 1.1))
    figure.tight_layout()
    return png(figure)


def sheet(originals: np.ndarray, rebuilt: np.ndarray, hits: np.ndarray) -> bytes:
    """Pairs of rows: originals (R, K, C, S, S) uint8 over what was rebuilt of them; misses (R, K) are crossed out."""
    rows, columns, _, side, _ = originals.shape
    figure = Figure(figsize=(0.62 * columns, 1.34 * rows))
    axes = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for row in range(rows):
        for column in range(columns):
            for offset, image in enumerate((originals[row, column], rebuilt[row, column])):
                cell = axes[2 * row + offset, column]
                cell.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
                cell.set(xticks=[], yticks=[])
                cell.grid(False)
                for spine in cell.spines.values():
                    spine.set_visible(False)
            if not hits[row, column]:
                axes[2 * row + 1, column].plot([0, side - 1], [side - 1, 0], color=MARK_COLOUR, linewidth=0.8)
    return png(figure)
