"""The experiments in config_data/, each with the first sentence of the comment at the head of its file."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pipeline.layers import shipped_experiments

FIRST_SENTENCE = re.compile(r".*?[.?](?=\s|$)")
NAME_WIDTH = 33


def describe(file: Path) -> str:
    """The first sentence of the comment at the head of a YAML file; empty where there is none."""
    lines = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    text = " ".join(lines)
    sentence = FIRST_SENTENCE.match(text)
    return sentence[0] if sentence else text


def experiment_lines(width: int | None) -> Iterator[str]:
    """A line for every experiment, or several where `width` columns do not hold it; None = as long as it takes."""
    for file in shipped_experiments():
        line = f"{file.stem:<{NAME_WIDTH}}{describe(file)}"
        yield textwrap.fill(line, width, subsequent_indent=" " * NAME_WIDTH) if width else line
