"""A case of bad input: what is wrong, the files that make it so, the command that meets it, and the line it gets."""

import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.command_line import run

QUICK = "--set kkt.attack.iterations=200"


@dataclass(frozen=True)
class Case:
    """`command` is what follows `python -m`, and `line` a regular expression.

    With `code` 0 the line is searched in what the command prints, and stderr stays empty; with any other, stderr is
    that one line. In command, files and line HERE stands for the case's own fresh directory and RUNS for
    `--set paths.runs=HERE/runs`. `make` lays there what is no plain file.
    """

    wrong: str
    command: tuple[str, ...] | str
    code: int
    line: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    make: Callable[[Path], None] | None = None

    def prepare(self, here: Path) -> None:
        for name, content in self.files.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.replace("HERE", str(here)).encode())
        if self.make:
            self.make(here)

    def words(self, here: Path) -> list[str]:
        """The command's words: split at blanks, unless it is a tuple already."""
        words = self.command.split() if isinstance(self.command, str) else list(self.command)
        expanded = [
            part for word in words for part in (("--set", "paths.runs=HERE/runs") if word == "RUNS" else (word,))
        ]
        return [word.replace("HERE", str(here)) for word in expanded]


@functools.cache
def _finished_run() -> tempfile.TemporaryDirectory:
    """The shortest whole experiment, made once: its results are read and spoilt as copies."""
    place = tempfile.TemporaryDirectory(prefix="bad-input-")
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(f"jobs run kkt_red_blue --executor inline {QUICK} --set paths.runs={place.name}".split())
    assert code == 0
    return place


def finished_run(here: Path) -> Path:
    """Lay a finished kkt_red_blue (with QUICK) into HERE/runs; returns its directory."""
    copied = here / "runs" / "kkt_red_blue"
    shutil.copytree(Path(_finished_run().name) / "kkt_red_blue", copied)
    return copied
