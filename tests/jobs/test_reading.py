"""What a person reads in a terminal: times, tables, what is left, what came out."""

import io

import pytest
from rich.console import Console

from jobs import display
from jobs.display import Display
from jobs.scan import StageState
from jobs.spans import readable
from jobs.tables import fitted
from jobs.worker import Report
from pipeline.report.table import Table
from pipeline.store import Standing
from stages import stage_named


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0 s"), (0.2, "1 s"), (10, "10 s"), (59, "1 min"), (90, "1.5 min"), (480, "8 min"), (3600, "1 h")),
        *((5400, "1.5 h"), (68400, "19 h"), (86400, "1 day"), (3 * 86400, "3 days")),
    ],
)
def test_times_are_in_units_that_a_person_reads(seconds, said):
    assert readable(seconds) == said


def printed(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(fitted(table, width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_table_wider_than_the_terminal_stands_upright():
    table = Table(["experiment", "a long column of words", "AUC"], [["mine", "x", "0.971 (0.967 … 0.976)"]], "t")
    assert len(printed(table, 80)) == 2
    assert printed(table, 40) == [
        "mine",
        "  a long column of words  x",
        "  AUC                     0.971 (0.967",
        "… 0.976)",
    ] or [line.strip() for line in printed(table, 40)][:2] == ["mine", "a long column of words  x"]
    assert max(map(len, printed(table, 40))) <= 40


def test_one_long_shard_says_how_much_longer(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    state = StageState(stage_named("reconstructor"), {"conditional": Standing("missing")}, ())
    shown = Display(console)
    shown.stage_started(state)
    now[0] = 60.0
    shown.told(Report("conditional", "working", 250, 1000, "loss 0.1"))
    assert "about 3 min left; conditional: 250/1000 loss 0.1" in console.file.getvalue()
