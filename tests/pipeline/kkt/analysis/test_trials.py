"""Trials merged and chosen, candidates ranked: nothing but what an adversary has."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import Failure
from pipeline.kkt.analysis.neighbours import distances
from pipeline.kkt.analysis.settings import TrialSelection
from pipeline.kkt.analysis.trials import Trials, agreement, chosen, first_distinct, merged, rankings
from pipeline.store import Result, Shards, write_shard


def trials(count: int = 3) -> Trials:
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(count, 4, 1, 6, 6, generator=generator)
    strengths = torch.rand(count, 4, generator=generator)
    labels, terms = torch.tensor([0, 0, 1, 1]), {"stationarity": torch.arange(count).float()}
    return Trials(torch.arange(count), candidates, labels, strengths, terms, {})


def test_agreement_is_the_mean_distance_to_the_nearest_of_every_other_trial():
    of = trials()
    found = agreement(of.candidates, "ncc")
    for t, i in ((0, 0), (2, 3)):
        others = [distances(of.candidates[t, i, None], of.candidates[s], "ncc").min() for s in range(3) if s != t]
        assert float(found[t, i]) == pytest.approx(float(sum(others)) / 2, rel=1e-5)


def test_what_recurs_in_another_trial_comes_first_by_agreement():
    of = trials()
    of.candidates[2, 1] = 3 * of.candidates[0, 3] + 1
    of.candidates[1, 2] = of.candidates[0, 3]
    order = rankings(of, "ncc", torch.Generator())["agreement"]
    assert set(order[:3].tolist()) == {3, 6, 9}
    assert len(first_distinct(order, of.pool, "ncc", 0.1, 12)) == 10


def test_rankings_are_by_multiplier_contrast_agreement_and_chance():
    of = trials()
    orders = rankings(of, "ncc", torch.Generator())
    assert list(orders) == ["multiplier", "contrast", "agreement", "random"]
    assert orders["multiplier"][0] == of.strengths.flatten().argmax()
    assert orders["contrast"][0] == of.pool.flatten(1).norm(dim=1).argmax()
    assert all(sorted(order.tolist()) == list(range(12)) for order in orders.values())
    assert "agreement" not in rankings(trials(1), "ncc", torch.Generator())


def test_components_are_ranked_by_support():
    of = replace(trials(), strengths=None, support=torch.rand(3, 4, generator=torch.Generator().manual_seed(2)))
    orders = rankings(of, "ncc", torch.Generator())
    assert list(orders) == ["support", "contrast", "agreement", "random"]
    assert orders["support"][0] == of.support.flatten().argmax()
    kept = torch.tensor([2])
    assert torch.equal(of.part(kept).support, of.support[kept])


@pytest.mark.parametrize(
    ("by", "kept"), [("all", [0, 1, 2]), ("loss", [1, 2]), ("agreement", [0, 2]), ("training_set", [0, 1])]
)
def test_trials_are_chosen_by_one_measure(by, kept):
    measures = {
        "loss": torch.tensor([3.0, 1.0, 2.0]),
        "agreement": torch.tensor([0.1, 0.3, 0.2]),
        "hits": torch.tensor([4, 5, 1]),
    }
    selection = TrialSelection(by=by, keep=None if by == "all" else 2)
    assert chosen(selection, measures).tolist() == kept


@pytest.mark.parametrize("wrong", [{"by": "loss"}, {"keep": 3}])
def test_a_number_of_trials_goes_with_a_rule_to_choose_them(wrong):
    with pytest.raises(ValueError, match="keep is how many trials"):
        TrialSelection(**wrong)


# --------------------------------------------------------------------------------------------- shards of trials


@pytest.fixture
def shards(tmp_path):
    def write(*candidates: np.ndarray, multipliers=None) -> Shards:
        paths, first = {}, 0
        for block, values in enumerate(candidates):
            count = len(values)
            arrays = {
                "trials": np.arange(first, first + count),
                "candidates": values.astype(np.float32),
                "labels": np.array([0, 1]),
                "terms/stationarity": np.zeros(count),
                "hyperparameters/relu_sharpness": np.full(count, 50.0),
                "history/iteration": np.array([0, 10]),
                "history/stationarity": np.zeros((2, 2)),
            }
            if multipliers:
                arrays["multipliers"] = np.ones((count, *multipliers), np.float32)
            paths[f"trials-{first:05d}"] = tmp_path / f"{block}.h5"
            write_shard(tmp_path / f"{block}.h5", Result(arrays), "f", {})
            first += 2
        return Shards(paths)

    return write


def test_trials_of_all_shards_are_merged_also_where_one_lost_its_all(shards):
    of = merged(shards(np.ones((2, 2, 1, 4, 4)), np.ones((0, 2, 1, 4, 4)), np.ones((1, 2, 1, 4, 4))), "cpu")
    assert of.numbers.tolist() == [0, 1, 4]
    assert of.pool.shape == (6, 1, 4, 4)
    assert of.strengths is None
    assert of.part(torch.tensor([2])).numbers.tolist() == [4]


def test_several_multipliers_of_a_candidate_count_together(shards):
    assert torch.equal(
        merged(shards(np.ones((2, 2, 1, 4, 4)), multipliers=(2, 3)), "cpu").strengths, torch.full((2, 2), 3.0)
    )


def test_no_trial_left_and_a_trial_gone_wrong_are_said(shards):
    with pytest.raises(Failure, match="no trial was finished"):
        merged(shards(np.ones((0, 2, 1, 4, 4))), "cpu")
    broken = np.ones((2, 2, 1, 4, 4))
    broken[1, 0, 0, 2, 2] = np.inf
    with pytest.raises(Failure, match="candidates of trial 1 are not finite"):
        merged(shards(broken), "cpu")
