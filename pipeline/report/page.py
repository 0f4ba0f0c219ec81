"""One self-contained HTML page from sections of words, tables and figures; every attack reports through it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure as Drawing

from pipeline.report import style
from pipeline.report.table import Table

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)


@dataclass(frozen=True)
class Figure:
    """A picture with the sentence that says what it shows. `file`: its name, without ending, beside the page."""

    png: bytes
    pdf: bytes
    caption: str
    file: str

    @classmethod
    def of(cls, drawing: Drawing, caption: str, file: str) -> "Figure":
        return cls(style.png(drawing), style.pdf(drawing), caption, file)

    @property
    def files(self) -> dict[str, bytes]:
        """Name → content."""
        return {f"{self.file}.png": self.png, f"{self.file}.pdf": self.pdf}

    @property
    def data_url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Section:
    """`warnings`: what a reader must know before believing the numbers, in words."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    preformatted: str = ""
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Chapter:
    """What one attack has to say: its sections, further tables that only lie beside the page, and one sentence."""

    sections: Sequence[Section]
    answer: str
    beside: Sequence[Table] = ()


def render(title: str, summary: str, sections: Sequence[Section]) -> bytes:
    """The page as UTF-8 HTML with styles and pictures inside."""
    return TEMPLATES.get_template("page.html").render(title=title, summary=summary, sections=sections).encode()
