"""What a network alone says, against counts made by hand."""

import pytest

from pipeline.gradient_inversion.batches.prediction import expect
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.prediction import predict
from pipeline.randomness import torch_generator


def report(name, batch_size=1, **options):
    module = build(name, (3, 32, 32), 10, torch_generator(0), **options)
    return predict(read_network(module, (3, 32, 32)), batch_size)


def test_ranks_of_the_dlg_network_are_those_counted_by_hand():
    """12 filters, stride 2, on 16×16: phases of 9, 6, 6 and 4 taps for 64 pixels; the last has rank 48."""
    lines = {line.layer: line for line in report("dlg_lenet").layers}
    assert lines["2"].gradient_rank == 12 * (64 + 64 + 64 + 48)
    assert lines["0"].gradient_rank == 3 * 12 * (9 + 6 + 6 + 4)
    assert lines["0"].weight_rows == lines["0"].unknowns == 3072
    assert all(line.recoverable for line in lines.values())


def test_a_relu_behind_which_rows_are_needed_says_how_many():
    found = report("lenet_all_relu", filters=(24, 22, 3, 3))
    assert not found.recoverable
    assert found.reason == "0: depends on the gradient: at least 1272 of 6144 ReLU units must be live"
    assert report("lenet_all_relu").recoverable


def test_batches_beyond_the_logits_are_refused():
    assert "at most 9 images apart, not 10" in report("lenet", 10).reason


def test_the_report_prints_as_a_table():
    lines = str(report("lenet")).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("layer")
    assert lines[1].endswith("recoverable")


def test_a_batch_is_expected_whole_where_silent_units_abound_and_not_where_they_are_few(synthetic):
    images, labels = synthetic(60, (1, 16, 16))
    images = (images - images.mean()) / images.std()

    def expected(width, batch_size):
        options = {"init": "default", "hidden": (width,)}
        module = build("fully_connected", (1, 16, 16), 10, torch_generator("expected"), **options)
        return expect(read_network(module, (1, 16, 16)), images, labels, batch_size)

    assert expected(1000, 32).share == 1
    assert expected(100, 50).share < 0.1
    assert expected(1000, 32).silent == pytest.approx(500 / 32, rel=0.15)
    assert expected(1000, 32).told == 1


def test_with_as_many_classes_as_firing_units_or_dead_units_nothing_is_expected(synthetic):
    images, labels = synthetic(60, (1, 16, 16), classes=100)

    def expected(classes, shift=0.0):
        options = {"init": "default", "hidden": (150,)}
        module = build("fully_connected", (1, 16, 16), classes, torch_generator("expected"), **options)
        network = read_network(module, (1, 16, 16))
        hidden = network.module.get_submodule(network.head[0].name)
        hidden.bias.data[10:] -= shift
        return expect(read_network(network.module, (1, 16, 16)), images, labels, 10)

    assert expected(10).told == 1
    assert expected(100).told == 0
    assert "any δ is possible" in str(expected(100))
    assert expected(10, shift=1e3).silent < 1
