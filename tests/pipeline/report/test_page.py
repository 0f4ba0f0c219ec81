"""The page: one file, every table also as CSV, nothing of the user's words taken for markup."""

import numpy as np

from pipeline.reconstruction.cautions import of_victims
from pipeline.report import figures, style
from pipeline.report.page import Figure, Section, render
from pipeline.report.table import Interval, Table


def test_the_page_is_one_file_with_tables_and_pictures_inside():
    table = Table(["scope", "AUC"], [["pooled", 0.5]], "rates")
    sheet = figures.sheet(black := np.zeros((2, 3, 1, 8, 8), np.uint8), (black, np.eye(2, 3) > 0))
    page = render(
        "A & B", "<script>", [Section("Rates", "words", [table], [Figure.of(sheet, "a sheet", "sheet")])]
    ).decode()
    assert "A &amp; B" in page
    assert "<script>" not in page
    assert "data:image/png;base64,iVBOR" in page
    assert 'href="rates.csv"' in page
    assert 'src="http' not in page
    assert table.csv() == b"scope,AUC\npooled,0.5\n"


def test_equal_data_give_equal_pictures():
    rng = np.random.default_rng(0)
    h0, h1 = rng.random((50, 2)), {"correlation": rng.random((50, 2)), "other_victims": rng.random((50, 2))}
    for save in (style.png, style.pdf):
        assert save(figures.histogram(h0, h1, 0.1)) == save(figures.histogram(h0, h1, 0.1))


def test_colour_images_are_shown_too():
    images = np.zeros((1, 2, 3, 8, 8), np.uint8)
    assert style.png(figures.sheet(images, (images, np.ones((1, 2), bool)))).startswith(b"\x89PNG")


def test_a_sheet_has_a_row_for_every_reconstruction_and_crosses_out_its_own_misses():
    originals, near, far = (np.full((2, 3, 1, 4, 4), grey, np.uint8) for grey in (10, 20, 30))
    hits = np.array([[True, True, False], [True, True, True]])
    figure = figures.sheet(originals, (near, hits), (far, ~hits))
    shown = np.array([axes.images[0].get_array()[0, 0] for axes in figure.axes]).reshape(6, 3)
    assert shown[:, 0].tolist() == [10, 20, 30, 10, 20, 30]
    crossed = np.array([len(axes.lines) for axes in figure.axes]).reshape(2, 3, 3)
    assert not crossed[:, 0].any()
    assert np.array_equal(crossed[:, 1] > 0, ~hits)
    assert np.array_equal(crossed[:, 2] > 0, hits)


def test_a_table_is_the_same_for_people_and_programs():
    cells = [
        ["a|b", Interval(0.5, 0.25, 0.75)],
        ["c", Interval(0.0, 0.0, 0.125, bound=True)],
        ["d", Interval(*[np.nan] * 3)],
    ]
    table = Table(["scope", "TPR"], cells, "rates")
    assert table.csv().decode().splitlines()[:3] == [
        "scope,TPR,TPR low,TPR high,TPR is a bound",
        "a|b,0.5,0.25,0.75,False",
        "c,0.0,0.0,0.125,True",
    ]
    assert table.markdown().decode().splitlines() == [
        "| scope | TPR |",
        "| --- | ---: |",
        "| a\\|b | 0.500 (0.250 … 0.750) |",
        "| c | ≤ 0.125 |",
        "| d | – |",
    ]
    arrays = table.arrays()
    assert arrays["rates/TPR low"][:2].tolist() == [0.25, 0.0]
    assert arrays["rates/scope"].tolist() == [b"a|b", b"c", b"d"]


def test_victims_that_know_their_own_images_no_better_than_others_are_cautioned_against():
    own = np.array([1.0, 0.9, 1.0, 1.0, 0.8, 1.0] * 20)
    assert not of_victims(own, np.full(120, 0.6))
    said = of_victims(np.full(120, 0.1), np.full(120, 0.1))
    assert len(said) == 1 and "these are not their features or not their images" in said[0]
