"""docs/keys.md is what the settings in the code say, and every key says what it is."""

from jobs.keys import keys_page, keys_under
from pipeline import ROOT


def test_the_page_of_keys_is_fresh():
    page = (ROOT / "docs" / "keys.md").read_text()
    assert page == keys_page(), "make it anew: python -m jobs keys > docs/keys.md"


def test_every_key_is_described():
    rows = [line.split(" | ") for line in keys_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []


def test_one_key_is_looked_up(typed):
    (row,) = keys_under("shadow_models.training.private.sample_rate")
    assert row.startswith("| `shadow_models.training.private.sample_rate` | number > 0, ≤ 1 | **needed** | q: ")
    done = typed("jobs", "keys", "shadow_model.training")
    assert done.returncode == 2
    assert done.stderr.startswith("error: keys shadow_model.training: there is no such key")
