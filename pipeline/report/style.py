"""One look for every picture: sizes, lines and colours, and how a figure becomes PNG and PDF bytes."""

import io

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.25,
        "lines.linewidth": 1.6,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "pdf.fonttype": 42,
    }
)
H0_COLOUR, H1_COLOUR, MARK_COLOUR = "#1b6ca8", "#b0b0b0", "#c0392b"
METHOD_COLOURS = (H0_COLOUR, "#d98c1f", "#3a8f5c")
NULL_STYLES = ("-", "--", ":")


def png(figure: Figure) -> bytes:
    return _saved(figure, "png", {"Software": None})


def pdf(figure: Figure) -> bytes:
    return _saved(figure, "pdf", {"Creator": None, "Producer": None, "CreationDate": None})


def _saved(figure: Figure, form: str, unsaid: dict[str, None]) -> bytes:
    """matplotlib writes its version and the date unless told not to; pictures of equal data should be equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format=form, dpi=144, bbox_inches="tight", metadata=unsaid)
    return stream.getvalue()
