"""Every case of the tables beside this file: one line, the right exit code, no traceback, and an end."""

import importlib
import re
from pathlib import Path

import pytest

from tests.bad_input.case import Case
from tests.command_line import run

TABLES = {
    path.stem.removeprefix("cases_"): importlib.import_module(f"tests.bad_input.{path.stem}").CASES
    for path in sorted(Path(__file__).parent.glob("cases_*.py"))
}
ALL = [
    pytest.param(case, id=f"{table}-{number:03d}-{re.sub('[^A-Za-z0-9.=_]+', '-', case.wrong)[:60]}")
    for table, cases in TABLES.items()
    for number, case in enumerate(cases)
]


def test_there_are_five_hundred_different_cases():
    cases = [(str(case.command), str(case.files), case.make, case.wrong) for table in TABLES.values() for case in table]
    assert len(set(cases)) == len(cases)
    assert len(cases) >= 500


@pytest.mark.parametrize("case", ALL)
def test_bad_input_gets_one_clear_line(case: Case, tmp_path, capfd, monkeypatch):
    case.prepare(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    code = run(case.words(tmp_path))
    printed, complained = capfd.readouterr()
    assert code == case.code, complained or printed
    assert "Traceback" not in printed + complained
    told = complained if case.code else printed
    assert re.search(case.line.replace("HERE", re.escape(str(tmp_path))), told), told
    if case.code:
        assert complained.startswith("error: ")
        assert len(complained.splitlines()) == 1, complained
    else:
        assert complained == ""
