"""The page in a real browser: Debian's chromium, headless."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.special import expit

from pipeline.evaluation.curves import published
from pipeline.evaluation.intervals import share
from pipeline.evaluation.rates import rates, victims_by_recovered
from pipeline.reconstruction.chapter import Outcome, chapter_of_mode
from pipeline.report.page import Section, render

pytestmark = pytest.mark.browser
PHONE = 360

MEASURE = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message || event.target.src || "error"), true);
addEventListener("load", () => {
  const images = [...document.images];
  const found = {
    width: innerWidth,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    images: images.length,
    undecoded: images.filter((image) => !image.complete || !image.naturalWidth).length,
    outside: [...document.querySelectorAll("body *")].filter((part) =>
      part.getBoundingClientRect().right > innerWidth + 1 && !part.closest(".scroll")).length,
    background: getComputedStyle(document.body).backgroundColor,
    requests: performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).length,
    errors,
  };
  const said = "measured " + JSON.stringify(found);
  if (parent === window) document.title = said; else parent.postMessage(said, "*");
});
</script>"""


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed")

    def run(*arguments):
        command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="module")
def page() -> bytes:
    """The chapter of a made-up attack with all it can hold: every table, figure and warning."""
    rng = np.random.default_rng(0)
    h0 = 4 * expit(rng.normal(-2.5, 1, (40, 10)))
    scores = {"h0/min_mse": h0, "h0/nearest": rng.integers(0, 50, (40, 10))}
    scores["h0/rebuilt"] = rng.integers(0, 256, (40, 10, 1, 32, 32), dtype=np.uint8)
    roc = {"false_positive_rates": np.array([0.001, 0.05])}
    for null, mean in (("correlation", 0.0), ("other_victims", -1.0)):
        h1 = 4 * expit(rng.normal(mean, 1, (40, 10)))
        scores[f"h1/{null}/min_mse"] = h1[:, None]
        found = [
            rates(h0[:, k], h1[:, k], 0.1, (0.001, 0.05), 20, rng)
            for k in (slice(None), *map(slice, range(10), range(1, 11)))
        ]
        for name in vars(found[0]):
            roc[f"{null}/{name}"] = np.stack([getattr(one, name) for one in found])
        for name, value in vars(published(h0, h1, 0.1, roc["false_positive_rates"])).items():
            roc[f"{null}/published/{name}"] = np.asarray(value)
        roc[f"{null}/recovered"] = np.stack([victims_by_recovered(one <= 0.1) for one in (h0, h1)])
        roc[f"{null}/any_recovered"] = np.stack([share((one <= 0.1).any(1)[:, None]) for one in (h0, h1)])
    outcome = Outcome("conditional", scores, roc, 0.1, False, "correlation", "LPIPS was not asked for")
    told = chapter_of_mode(outcome, rng.integers(0, 256, (50, 1, 32, 32), dtype=np.uint8), 4)
    long = Section("Configuration", preformatted="a_key_without_any_spaces_in_it: " + "x" * 400)
    return render("made up", f"A sentence. {told.answer}", [told.sections[0], long])


def measured(browser, page, tmp_path, *arguments, width: int | None = None) -> tuple[dict, str]:
    """What the page says of itself once it is loaded, and what the browser logged.

    With a `width`, the page is in a frame that wide: windows of this browser are 500 pixels wide or more.
    """
    file = shown = tmp_path / "page.html"
    file.write_bytes(page.replace(b"<head>", b"<head>" + MEASURE.encode(), 1))
    if width:
        shown = tmp_path / "frame.html"
        listen = "addEventListener('message', (event) => document.title = event.data)"
        shown.write_text(
            f'<title></title><script>{listen}</script><iframe src="page.html" width="{width}" frameborder="0">'
        )
    done = browser("--virtual-time-budget=5000", "--dump-dom", *arguments, shown.as_uri())
    found = re.search(r"<title>measured (.*?)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1]), done.stderr


def test_the_page_loads_whole_and_alone(browser, page, tmp_path):
    found, log = measured(browser, page, tmp_path, "--window-size=1200,900")
    assert found["errors"] == []
    assert "CONSOLE" not in log
    assert found["images"] == 6
    assert found["undecoded"] == 0
    assert found["requests"] == 0
    assert found["overflow"] == 0


def test_it_is_as_wide_as_a_phone(browser, page, tmp_path):
    found, _ = measured(browser, page, tmp_path, "--hide-scrollbars", width=PHONE)
    assert found["width"] == PHONE
    assert found["overflow"] == 0
    assert found["outside"] == 0


def test_it_is_dark_where_that_is_wanted(browser, page, tmp_path):
    light, _ = measured(browser, page, tmp_path)
    dark, _ = measured(browser, page, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert light["background"] != dark["background"] == "rgb(22, 25, 29)"


def test_it_prints(browser, page, tmp_path):
    (tmp_path / "page.html").write_bytes(page)
    browser(f"--print-to-pdf={tmp_path}/page.pdf", (tmp_path / "page.html").as_uri())
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20
