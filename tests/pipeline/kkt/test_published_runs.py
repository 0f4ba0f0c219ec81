"""The published KKT runs against our experiments: every number of their command lines and search files."""

import numpy as np
import pytest
import torch

from pipeline.config import load
from pipeline.errors import UserError
from pipeline.kkt.networks import read_weights, untrained_victim
from pipeline.kkt.problems import choose, load_problem
from pipeline.kkt.settings import NetworkSettings, VictimSettings

ATTACKS = {
    # experiment, point: learning_rate, multiplier_learning_rate, init_std, minimum_multiplier, relu_sharpness
    ("kkt_mnist_published", "run=a"): (0.030524, 1e-4, 0.034977, 0.447051, 149.8656),
    ("kkt_cifar10_multiclass", "run=a"): (0.00136236, 0.479332, 6.2277e-5, 0.203209, 39.5174),
    ("kkt_cifar10_multiclass", "run=b"): (0.00024198, 0.951276, 0.000360519, 0.0401179, 326.4659),
    ("kkt_cifar100_multiclass", "run=b"): (0.00024198, 0.951276, 0.000360519, 0.0401179, 326.4659),
    ("kkt_cifar10_regression", "run=a"): (0.951752, 1e-4, 0.0197495, None, 90.28907),
    ("kkt_cifar10_regression", "run=b"): (0.871545, 1e-4, 0.0136501, None, 107.41298),
    ("kkt_cifar10_regression", "run=c"): (0.949135, 1e-4, 3.50378e-6, None, 103.71729),
}
KEYS = ("learning_rate", "multiplier_learning_rate", "init_std", "minimum_multiplier", "relu_sharpness")


@pytest.mark.parametrize(("where", "published"), ATTACKS.items(), ids=lambda one: str(one[:2]))
def test_attacks_hold_the_published_numbers_to_three_digits(where, published):
    config, point = where
    kkt = load(config, [f"point={point}"]).kkt
    for key, number in zip(KEYS, published, strict=True):
        if number is not None:  # regression penalises no multiplier
            assert getattr(kkt.attack, key) == pytest.approx(number, rel=5e-3), key
    assert (kkt.attack.optimizer, kkt.attack.schedule, kkt.attack.dtype) == ("sgd", "constant", "float64")
    assert kkt.attack.candidates == 1000
    assert kkt.attack.iterations == (50_001 if kkt.problem.kind == "multiclass" else 50_000)
    assert kkt.victim.method == "gradient_descent"
    assert kkt.victim.learning_rate == (0.5 if kkt.problem.kind == "multiclass" else 0.01)


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_the_published_search_draws_what_was_searched_and_ours_draws_more(data):
    """Their search files hold four ranges; the multipliers' rate is left at its default, 1e-4."""
    theirs, ours = (load(f"kkt_{data}{name}_search").kkt for name in ("", "_flow"))
    ranges = {name: one.model_dump(exclude_none=True) for name, one in theirs.search.ranges.items()}
    assert ranges == {
        "learning_rate": {"log_uniform": (1e-5, 1.0)},
        "init_std": {"log_uniform": (1e-6, 0.1)},
        "minimum_multiplier": {"uniform": (0.01, 0.5)},
        "relu_sharpness": {"uniform": (10.0, 500.0)},
    }
    assert theirs.attack.multiplier_learning_rate == 1e-4
    assert (theirs.victim.method, theirs.victim.learning_rate, theirs.victim.steps) == (
        "gradient_descent",
        0.01,
        1_000_000,
    )
    assert ours.victim.method == "flow"
    assert ours.search.ranges.keys() - theirs.search.ranges.keys() == {"multiplier_learning_rate"}


@pytest.mark.parametrize(("config", "count"), [("kkt_cifar10_multiclass", 50), ("kkt_cifar100_multiclass", 5)])
def test_multiclass_victims_learn_the_first_of_each_class(config, count):
    """Against a plain loop; the file's order within the set makes no difference to full batches."""
    labels = np.random.default_rng(0).permutation(np.arange(1000) % 10)
    seen, expected = dict.fromkeys(range(10), 0), []
    for place, label in enumerate(labels.tolist()):
        seen[label] += 1
        if seen[label] <= count:
            expected.append(place)
    problem = load(config, ["point=run=a"]).kkt.problem
    assert choose(labels, problem, 3)[0].tolist() == expected


def test_the_published_toy_is_of_pure_colours_on_a_wide_network():
    toy = load("kkt_red_blue_published")
    problem = load_problem(toy.kkt.problem, None, toy.paths.data_root, 0)
    assert problem.images.flatten(1).unique(dim=0).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert problem.labels.bincount().tolist() == [10, 10]
    assert (toy.kkt.victim.network.hidden, toy.kkt.attack.candidates) == ((1000, 1000), 100)


class TestWeightsInAWrapper:
    """Published victims are saved as {"batch": …, "epoch": …, "state_dict": …}."""

    settings = VictimSettings(network=NetworkSettings(hidden=(5, 4)))

    def drawn(self, seed):
        return untrained_victim(self.settings, (1, 2, 3), 1, torch.Generator().manual_seed(seed))

    def test_are_those_inside(self, tmp_path):
        theirs, ours = self.drawn(0), self.drawn(1)
        torch.save({"batch": None, "epoch": 7, "state_dict": theirs.state_dict()}, tmp_path / "weights-7.pth")
        read_weights(ours, tmp_path / "weights-7.pth")
        assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True))

    def test_of_something_else_are_refused_in_one_line(self, tmp_path):
        torch.save({"batch": None, "epoch": 7, "state_dict": [1, 2]}, tmp_path / "list.pth")
        with pytest.raises(UserError, match=r"list.pth: batch is nothing; expected names with tensors"):
            read_weights(self.drawn(0), tmp_path / "list.pth")
