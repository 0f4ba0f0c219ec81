"""Tables for people and programs: the same cells as HTML, CSV, Markdown and HDF5."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A cell: a value with its 95 % interval. `bound`: all the sample says is that it is at most `high`."""

    value: float
    low: float
    high: float
    bound: bool = False

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        return f"≤ {self.high:.3f}" if self.bound else f"{self.value:.3f} ({self.low:.3f} … {self.high:.3f})"


def plain(cell: object) -> object:
    """A number of NumPy's as Python's, so that it prints as a number."""
    return cell.item() if isinstance(cell, np.generic) else cell


@dataclass(frozen=True)
class Table:
    """Rows of cells under `columns`. `file` is the name, without ending, under which the same cells lie in files."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    file: str

    def spread(self) -> tuple[list[str], list[list[object]]]:
        """Columns and rows for programs: an interval becomes value, low, high and whether it is a bound."""
        wide = [any(isinstance(row[place], Interval) for row in self.rows) for place in range(len(self.columns))]
        parts = ("", " low", " high", " is a bound")
        columns = [
            name + part
            for name, several in zip(self.columns, wide, strict=True)
            for part in (parts if several else [""])
        ]
        return columns, [
            [part for cell, several in zip(row, wide, strict=True) for part in _parts(cell, several)]
            for row in self.rows
        ]

    def csv(self) -> bytes:
        columns, rows = self.spread()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return text.getvalue().encode()

    def markdown(self) -> bytes:
        """As on the page."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        cells = ([str(plain(cell)).replace("|", "\\|") for cell in line] for line in lines)
        return "".join(f"| {' | '.join(line)} |\n" for line in cells).encode()

    def arrays(self) -> dict[str, np.ndarray]:
        """One data set a column, <file>/<column>; words as UTF-8 bytes."""
        columns, rows = self.spread()
        found = {}
        for name, cells in zip(columns, zip(*rows, strict=True), strict=False):
            column = np.array([plain(cell) for cell in cells])
            if column.dtype.kind not in "biuf":
                column = np.char.encode([str(plain(cell)) for cell in cells], "utf-8")
            found[f"{self.file}/{name.replace('/', ' per ')}"] = column
        return found


def _parts(cell: object, several: bool) -> list[object]:
    if not several:
        return [plain(cell)]
    return [plain(part) for part in cell] if isinstance(cell, Interval) else [plain(cell), "", "", ""]
