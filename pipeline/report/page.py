"""One self-contained HTML page from sections of words, tables and figures; every attack reports through it."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)


@dataclass(frozen=True)
class Table:
    """Rows of cells under `columns`. `file` is the name, without ending, under which the same numbers lie as CSV."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    file: str

    def csv(self) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue().encode()


@dataclass(frozen=True)
class Figure:
    """A PNG picture with the sentence that says what it shows."""

    png: bytes
    caption: str

    @property
    def data_url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Section:
    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    preformatted: str = ""


@dataclass(frozen=True)
class Chapter:
    """What one attack has to say: its section, further tables that only lie beside the page, and one sentence."""

    section: Section
    answer: str
    beside: Sequence[Table] = ()


def render(title: str, summary: str, sections: Sequence[Section]) -> bytes:
    """The page as UTF-8 HTML with styles and pictures inside."""
    return TEMPLATES.get_template("page.html").render(title=title, summary=summary, sections=sections).encode()
