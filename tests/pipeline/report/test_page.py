"""The page: one file, every table also as CSV, nothing of the user's words taken for markup."""

import numpy as np

from pipeline.report import figures
from pipeline.report.page import Figure, Section, Table, render


def test_the_page_is_one_file_with_tables_and_pictures_inside():
    table = Table(["scope", "AUC"], [["pooled", 0.5]], "rates")
    sheet = figures.sheet(np.zeros((2, 3, 1, 8, 8), np.uint8), np.zeros((2, 3, 1, 8, 8), np.uint8), np.eye(2, 3) > 0)
    page = render("A & B", "<script>", [Section("Rates", "words", [table], [Figure(sheet, "a sheet")])]).decode()
    assert "A &amp; B" in page
    assert "<script>" not in page
    assert "data:image/png;base64,iVBOR" in page
    assert 'href="rates.csv"' in page
    assert 'src="http' not in page
    assert table.csv() == b"scope,AUC\npooled,0.5\n"


def test_equal_data_give_equal_pictures():
    rng = np.random.default_rng(0)
    h0, h1 = rng.random((50, 2)), rng.random((50, 2))
    assert figures.histogram(h0, h1, 0.1) == figures.histogram(h0, h1, 0.1)
    assert figures.roc(np.linspace(0, 1, 5), np.linspace(0, 1, 5), 0.01).startswith(b"\x89PNG")


def test_colour_images_are_shown_too():
    images = np.zeros((1, 2, 3, 8, 8), np.uint8)
    assert figures.sheet(images, images, np.ones((1, 2), bool)).startswith(b"\x89PNG")
