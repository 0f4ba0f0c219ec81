"""The examples run, find what they say they find, and stay short."""

import ast

import pytest

from examples import invert_one_gradient, kkt_on_your_network, reconstruct_from_a_head
from pipeline import ROOT

FILES = sorted(file for file in (ROOT / "examples").glob("*.py") if file.name != "__init__.py")


@pytest.fixture(autouse=True)
def _always_one_thread(one_thread):
    """Of every test here."""


def test_an_image_is_rebuilt_from_its_gradient():
    assert invert_one_gradient.main() < 1e-20


def test_training_images_are_rebuilt_from_a_network():
    assert kkt_on_your_network.main(iterations=500) > 0.9


def test_victims_own_weights_bring_their_images_nearer():
    own, null = reconstruct_from_a_head.main(seeds=4, steps=200)
    assert own < null


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_has_under_forty_lines_beside_its_imports(file):
    text = file.read_text()
    tree = ast.parse(text)
    aside = {line for node in tree.body[:-2] for line in range(node.lineno, node.end_lineno + 1)}
    lines = [line for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in aside]
    assert len(lines) < 40
