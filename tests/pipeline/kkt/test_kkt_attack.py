"""The attack's loop: its steps, its stacks, what it drops, how it is resumed; the search's draws."""

import numpy as np
import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.errors import UserError
from pipeline.kkt.analysis.neighbours import best_distances
from pipeline.kkt.attack import first_stack, run_attack
from pipeline.kkt.multipliers import candidate_labels, coefficients, penalty
from pipeline.kkt.objectives import add_range_penalty, naive_objective, stationarity_objective
from pipeline.kkt.optimizers import ADAM_EPSILON, MOMENTS, cosine, step
from pipeline.kkt.search import better_half, hyperparameters
from pipeline.kkt.settings import AttackSettings, Range, SearchSettings

SHAPE = (2, 3, 4)
CPU = torch.device("cpu")
RANGES = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}, "relu_sharpness": {"choice": [10, 20, 40]}}


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_steps_are_pytorchs_with_a_rate_for_each_trial(name):
    generator = torch.Generator().manual_seed(0)
    start, rates = torch.randn(2, 3, generator=generator), torch.tensor([0.1, 0.003])
    gradients = torch.randn(5, 2, 3, generator=generator)
    variable, moments = start.clone(), [torch.zeros(2, 3) for _ in range(MOMENTS[name])]
    for number, gradient in enumerate(gradients):
        step(name, variable, gradient.clone(), moments, rates, number + 1)
    for trial, rate in enumerate(rates.tolist()):
        one = start[trial].clone().requires_grad_()
        options = {"momentum": 0.9} if name == "sgd" else {"eps": ADAM_EPSILON}
        optimizer = (torch.optim.SGD if name == "sgd" else torch.optim.Adam)([one], lr=rate, **options)
        for gradient in gradients:
            one.grad = gradient[trial].clone()
            optimizer.step()
        assert torch.allclose(variable[trial], one.detach(), atol=1e-6)


def test_the_cosine_goes_from_one_to_zero():
    assert [cosine(done, 10) for done in (0, 5, 10)] == pytest.approx([1, 0.5, 0])


def attack(network, tmp_path, trials, kind="binary", search=None, period=3600.0, distance=None, **settings):
    """Trials of an attack on `network`, as the stage runs them."""
    chosen = AttackSettings(**{"candidates": 8, "iterations": 40, "dtype": "float64"} | settings)
    search = search or SearchSettings(trials=9, ranges={name: Range(**one) for name, one in RANGES.items()})
    labels = candidate_labels(8, 2)
    stack = first_stack(chosen, search, kind, trials, SHAPE, 2, 0, CPU)
    if kind == "naive":
        objective = naive_objective(network, labels)
    else:
        objective = stationarity_objective(network, labels, kind, "closed_form")
    checkpoint = Checkpoint(tmp_path / "c", "f", period)
    terms = {"distance": distance, "checkpoint": checkpoint, "progress": lambda *_: None}
    return run_attack(stack, objective, chosen, search.halve_at, **terms)


@pytest.mark.parametrize("kind", ["binary", "general", "naive"])
def test_a_trial_is_the_same_alone_and_in_a_stack(victim, tmp_path, kind):
    network = victim((7, 5))
    together = attack(network, tmp_path, [3, 4, 5], kind)
    alone = attack(network, tmp_path, [4], kind)
    assert torch.allclose(together.stack.candidates[1], alone.stack.candidates[0], atol=1e-9)
    assert torch.allclose(together.stack.multipliers[1], alone.stack.multipliers[0], atol=1e-9)
    for name, values in together.terms.items():
        assert values[1].item() == pytest.approx(alone.terms[name].item())


def test_the_loss_falls_and_its_history_ends_where_its_terms_are(victim, tmp_path):
    found = attack(victim((7, 5)), tmp_path, [0, 1], iterations=300)
    assert found.recorded[0] == 0
    assert found.recorded[-1] == 300
    totals = sum(found.history.values())
    assert (totals[-1] < totals[0]).all()
    assert torch.equal(found.history["stationarity"][-1], found.terms["stationarity"])


def test_a_diverging_trial_is_dropped_and_the_others_go_on(victim, tmp_path):
    wild = SearchSettings(trials=4, ranges={"learning_rate": Range(choice=(1e-2, 1e300))})
    rates = [
        hyperparameters(AttackSettings(candidates=8, iterations=40), wild, k, 0)["learning_rate"] for k in range(4)
    ]
    tame = [trial for trial, rate in enumerate(rates) if rate == 1e-2]
    assert 0 < len(tame) < 4
    found = attack(victim((7, 5)), tmp_path, range(4), search=wild, optimizer="sgd", schedule="constant")
    assert found.stack.trials.tolist() == tame
    assert found.diverged.tolist() == [trial not in tame for trial in range(4)]
    assert torch.isfinite(found.stack.candidates).all()
    assert torch.isfinite(found.history["stationarity"][-1]).tolist() == [trial in tame for trial in range(4)]


def test_when_all_diverge_none_is_left(victim, tmp_path):
    wild = SearchSettings(trials=2, ranges={"learning_rate": Range(choice=(1e300,))})
    found = attack(victim((7, 5)), tmp_path, [0, 1], search=wild, optimizer="sgd")
    assert len(found.stack) == 0
    assert found.diverged.all()


def test_halving_keeps_the_trials_of_lower_loss(victim, tmp_path):
    ranges = {name: Range(**one) for name, one in RANGES.items()}
    network = victim((7, 5))
    halved = attack(network, tmp_path, range(4), search=SearchSettings(trials=4, ranges=ranges, halve_at=(10, 20)))
    whole = attack(network, tmp_path, range(4), search=SearchSettings(trials=4, ranges=ranges))
    at_ten = sum(whole.history.values())[whole.recorded.tolist().index(10)]
    best = sorted(range(4), key=lambda trial: at_ten[trial])[:2]
    last = halved.stack.trials.tolist()
    assert len(last) == 1
    assert last[0] in best
    assert torch.allclose(halved.stack.candidates[0], whole.stack.candidates[last[0]], atol=1e-9)
    assert better_half(torch.tensor([3.0, 1.0, 2.0])).tolist() == [1, 2]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_killed_and_resumed_to_the_same_bits(victim, tmp_path, killed_at, optimizer):
    network = victim((7, 5))
    terms = {"optimizer": optimizer, "search": SearchSettings(trials=3, halve_at=(12,))}
    whole = attack(network, tmp_path / "whole", range(3), **terms)
    with killed_at("done", 23):
        attack(network, tmp_path, range(3), period=0.0, **terms)
    resumed = attack(network, tmp_path, range(3), **terms)
    assert torch.equal(resumed.stack.candidates, whole.stack.candidates)
    assert torch.equal(resumed.stack.multipliers, whole.stack.multipliers)
    for name, values in whole.history.items():
        assert torch.equal(resumed.history[name].nan_to_num(), values.nan_to_num())


def test_snapshots_are_the_candidates_of_shorter_runs(victim, tmp_path, killed_at):
    network, terms = victim((7, 5)), {"snapshot_every": 15, "schedule": "constant"}
    with killed_at("done", 23):
        attack(network, tmp_path, [0, 1], period=0.0, **terms)
    found = attack(network, tmp_path, [0, 1], **terms)
    assert list(found.snapshots) == [0, 15, 30]
    shorter = attack(network, tmp_path / "shorter", [0, 1], iterations=30, schedule="constant")
    assert found.snapshots[30]["trials"].tolist() == [0, 1]
    assert torch.equal(found.snapshots[30]["candidates"], shorter.stack.candidates)
    assert torch.equal(found.snapshots[30]["multipliers"], shorter.stack.multipliers)


def test_trials_far_from_the_training_images_are_stopped_once_they_had_their_time(victim, tmp_path):
    asked = []

    def distance(candidates):
        asked.append(len(candidates))
        return torch.tensor({3: [5.0, 3301.0, 7.0], 2: [5.0, 7.0]}[len(candidates)])

    found = attack(victim((7, 5)), tmp_path, [3, 4, 5], stop={"after": 17}, distance=distance)
    assert found.stopped == [4]
    assert found.stack.trials.tolist() == [3, 5]
    assert asked == [3] + [2] * 22  # at 17, and at 18 … 39
    assert not found.diverged.any()


def test_the_distance_that_stops_is_the_published_one():
    """By plain loops: nearest image of each candidate, each image once, mean of the ten least, summed over pixels."""
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(2, 60, 3, 4, 5, generator=generator, dtype=torch.float64)
    images = torch.randn(25, 3, 4, 5, generator=generator, dtype=torch.float64)

    def unit(image):
        flat = image.numpy().reshape(3, -1)
        return (flat - flat.mean(1, keepdims=True)) / flat.std(1, ddof=1, keepdims=True)

    for metric in ("l2", "ncc"):
        seen = unit if metric == "ncc" else lambda image: image.numpy().reshape(3, -1)
        for own, found in zip(candidates, best_distances(candidates, images, metric), strict=True):
            best = {}
            for one in own:
                apart = [((seen(one) - seen(image)) ** 2).sum() for image in images]
                nearest = int(np.argmin(apart))
                best[nearest] = min(best.get(nearest, np.inf), apart[nearest])
            assert float(found) == pytest.approx(np.mean(sorted(best.values())[:10]), rel=1e-9)


def test_pixels_outside_the_range_cost_their_squared_excess():
    candidates = torch.tensor([[0.5, 1.5, -3.0]], dtype=torch.float64).view(1, 1, 1, 1, 3)
    gradient = torch.zeros_like(candidates)
    value = add_range_penalty(candidates, gradient)
    assert value.item() == 0.25 + 4
    assert gradient.flatten().tolist() == [0, 1, -4]


def test_small_multipliers_cost_five_times_their_squared_want():
    labels, minimum = torch.tensor([0, 1]), torch.tensor([0.5])
    assert penalty("binary", torch.tensor([[0.1, 2.0]]), labels, minimum).item() == pytest.approx(5 * 0.16)
    assert penalty("general", torch.tensor([[-3.0, 2.0]]), labels, minimum).item() == 0
    several = torch.tensor([[[9.0, 0.3, -0.1], [0.2, 9.0, 0.5]]])  # sums over others: 0.2 and 0.7
    assert penalty("full", several, labels, minimum).item() == pytest.approx(5 * (0.3**2 + 0.1**2))


def test_full_multipliers_that_favour_the_runner_up_are_the_runner_up():
    logits = torch.tensor([[[1.0, 5.0, 3.0], [4.0, 2.0, 0.0]]])
    labels = torch.tensor([0, 0])
    runner_up = coefficients("runner_up", torch.tensor([[2.0, 3.0]]), labels)(logits)
    full = coefficients("full", torch.tensor([[[7.0, 2.0, 0.0], [7.0, 3.0, 0.0]]]), labels)(logits)
    assert runner_up.tolist() == full.tolist() == [[[2, -2, 0], [3, -3, 0]]]


def test_labels_are_dealt_evenly_and_fewer_than_classes_are_refused():
    assert candidate_labels(7, 3).bincount().tolist() == [3, 2, 2]
    with pytest.raises(UserError, match=r"kkt.attack.candidates is 9; the victim tells 10 classes apart"):
        candidate_labels(9, 10)


class TestSearch:
    settings = AttackSettings(candidates=8, iterations=40)

    def search(self, trials):
        ranges = {
            "learning_rate": Range(log_uniform=(1e-5, 1.0)),
            "minimum_multiplier": Range(uniform=(0.01, 0.5)),
            "relu_sharpness": Range(choice=(10.0, 500.0)),
        }
        return SearchSettings(trials=trials, ranges=ranges)

    def test_a_longer_search_extends_a_shorter_one(self):
        few, many = ([hyperparameters(self.settings, self.search(n), k, 0) for k in range(8)] for n in (8, 64))
        assert few == many
        assert few != [hyperparameters(self.settings, self.search(8), k, 1) for k in range(8)]

    def test_trials_fill_the_ranges_evenly(self):
        """A scrambled Sobol sequence: each quarter of every range has a quarter of 16 trials."""
        rows = [hyperparameters(self.settings, self.search(16), k, 0) for k in range(16)]
        share = np.array([(np.log10(row["learning_rate"]) + 5) / 5 for row in rows])
        assert np.bincount((share * 4).astype(int)).tolist() == [4] * 4
        share = np.array([(row["minimum_multiplier"] - 0.01) / 0.49 for row in rows])
        assert np.bincount((share * 4).astype(int)).tolist() == [4] * 4
        assert sorted(row["relu_sharpness"] for row in rows) == [10.0] * 8 + [500.0] * 8
        assert {row["init_std"] for row in rows} == {self.settings.init_std}
