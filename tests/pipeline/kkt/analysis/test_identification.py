"""Identification: what chance gives, what it cannot give, and who may be a decoy."""

import pytest
import torch
from scipy.stats import beta, binom

from pipeline.errors import UserError
from pipeline.kkt.analysis.identification import Identification, Rate, deal, identify
from pipeline.kkt.analysis.judgement import identified
from pipeline.kkt.analysis.match import Matching, match
from pipeline.kkt.analysis.settings import AnalysisSettings


def labels_of(*counts: int) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def test_chance_identifies_one_in_k_plus_one_whatever_the_candidates():
    """Scores of any law, alike for training and unseen images of a class, though classes differ in ease."""
    generator = torch.Generator().manual_seed(0)
    labels, unlearnt = labels_of(3000, 3000), labels_of(30_000, 30_000)
    dealt = deal(labels, unlearnt, 9, generator)
    ease = torch.randn(60_000, generator=generator).exp() + 5 * unlearnt
    own = torch.randn(6000, generator=generator).exp() + 5 * labels
    found = identify(own, ease[dealt])
    low, high = binom.ppf([0.0005, 0.9995], 6000, 0.1)
    assert found.chance == 0.1
    assert low <= int(found.identified.sum()) <= high
    assert low <= int(found.stand_in_identified.sum()) <= high
    assert not found.is_above()


def test_only_who_beats_every_decoy_is_identified():
    others = torch.tensor([[9.0, 1, 2], [0, 3, 5], [0, 4, 4]])
    found = identify(torch.tensor([2.5, 4.0, 4.0]), others)
    assert found.identified.tolist() == [True, False, False]
    assert found.stand_in_identified.tolist() == [True, False, False]
    assert found.decoys == 2


def test_an_image_without_a_candidate_beats_nobody_and_voids_nothing():
    none = torch.nan
    others = torch.tensor([[1.0, none, 2], [none, 1, 2], [3.0, none, none], [none, none, none]])
    found = identify(torch.tensor([3.0, none, 2.0, none]), others)
    assert found.identified.tolist() == [True, False, True, False]
    assert found.stand_in_identified.tolist() == [False, False, True, False]


def test_best_buddies_leave_training_images_and_decoys_the_same_chance():
    """Candidates that have nothing to do with the victim: each of 1 + k is as often the best, and some have none.

    Were decoys to compete all together, 40 images would share the candidates that 10 training images share.
    """
    how = Matching.of(AnalysisSettings(best_buddies=True, metric="l2"), torch.zeros(3, 4, 4))
    hits, images, decoys = 0, 10, 3
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        own, strangers, pool = (torch.rand(n, 3, 4, 4, generator=generator) for n in (images, images * 4, 30))
        scores = match(own, pool, how).scores[how.identify_by]
        hits += int(identified(scores, strangers, how, pool, torch.zeros(3, 4, 4)).identified.sum())
    low, high = binom.ppf([0.0005, 0.9995], 60 * images, 1 / (decoys + 1))
    assert low <= hits <= high


def test_decoys_are_of_the_class_and_nobody_is_dealt_twice():
    labels, unlearnt = torch.tensor([0, 1, 1, 0, 2]), labels_of(40, 60, 30)[torch.randperm(130)]
    dealt = deal(labels, unlearnt, None, torch.Generator().manual_seed(0))
    assert dealt.shape == (5, 1 + 19)
    assert torch.equal(unlearnt[dealt], labels[:, None].expand_as(dealt))
    assert len(dealt.unique()) == dealt.numel()
    assert deal(labels, unlearnt, 4, torch.Generator().manual_seed(0)).shape == (5, 5)


def test_too_few_unlearnt_images_are_said_before_any_work():
    with pytest.raises(UserError, match=r"kkt.analysis.decoys is 20; there are unlearnt images for 19 at most"):
        deal(labels_of(2, 2), labels_of(40, 60), 20, torch.Generator())
    assert deal(labels_of(10, 10), labels_of(10, 10), None, torch.Generator()) is None


def test_the_interval_is_clopper_and_pearsons():
    rate = Rate.of(torch.arange(20) < 7)
    assert (rate.count, rate.total, rate.value) == (7, 20, 0.35)
    assert rate.low == pytest.approx(beta.ppf(0.025, 7, 14))
    assert rate.high == pytest.approx(beta.ppf(0.975, 8, 13))


def test_above_means_an_interval_above_chance_the_stand_ins_and_every_null():
    few, many = torch.arange(100) < 3, torch.arange(100) < 30
    found, null = Identification(many, few, 19), Identification(torch.arange(100) < 25, few, 19)
    assert found.is_above()
    assert not found.is_above([null])
    assert not Identification(many, many, 19).is_above()
    assert not Identification(torch.arange(100) < 8, few, 19).is_above()
