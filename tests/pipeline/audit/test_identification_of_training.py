"""When an image counts as rebuilt: thresholds, scores and rates against plain loops and known laws."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.held_out import FIRST, LEFT_OUT, NULL, SECOND, parts_of
from pipeline.audit.identification import (
    Attacked,
    Background,
    Pool,
    behind_the_picture,
    rank_among,
    rates,
    scores,
    share_of_pairs,
    threshold_at,
)
from pipeline.errors import UserError


def test_a_further_strangers_score_is_below_the_threshold_at_its_rate():
    """The k-th of n values of any continuous law is above a further one with probability k / (n + 1)."""
    chance = np.random.default_rng(0)
    below = [
        chance.exponential() <= threshold_at(0.1, chance.exponential(size=(3, 13))) for _ in range(20000)
    ]  # 4 of 40
    assert abs(np.mean(below) - 0.1) < 3 * (0.09 / 20000) ** 0.5


def test_a_rate_that_too_few_strangers_resolve_calls_nothing_rebuilt():
    assert threshold_at(0.01, np.arange(98.0)) == -np.inf
    assert threshold_at(0.01, np.arange(99.0)) == 0.0


def test_the_score_is_the_larger_of_two_standardised_distances():
    chance = np.random.default_rng(1)
    own, others = chance.uniform(0.1, 1, (2, 3)), chance.uniform(0.1, 1, (6, 3))
    elsewhere, labels, pool_labels = chance.uniform(0.1, 1, (2, 8)), np.array([0, 1, 1]), np.arange(8) % 2
    found = scores(own, Background(others, labels), Pool(elsewhere, pool_labels))
    for head in range(2):
        for image in range(3):
            by_head = (np.log(own[head, image]) - np.log(others[:, image]).mean()) / np.log(others[:, image]).std()
            same = np.log(elsewhere[head, pool_labels == labels[image]])
            by_image = (np.log(own[head, image]) - same.mean()) / same.std()
            assert found[head, image] == pytest.approx(max(by_head, by_image))


def test_a_picture_that_is_near_to_every_image_says_nothing_of_one():
    """A mean image: nearer to x than other heads' pictures are, but to others of the class as well."""
    chance = np.random.default_rng(2)
    background = Background(chance.uniform(0.9, 1.1, (200, 1)), np.zeros(1, int))
    pool = chance.uniform(0.45, 0.55, (1, 200))
    assert scores(np.array([[0.5]]), background, Pool(pool, np.zeros(200, int)))[0, 0] > -1
    assert scores(np.array([[0.1]]), background, Pool(pool, np.zeros(200, int)))[0, 0] < -5


def test_ranks_count_those_that_are_as_small():
    assert rank_among(np.array([0.5, 2.0]), np.array([[0.1, 0.1], [0.5, 0.2], [0.9, 0.3]])) == pytest.approx([3 / 4, 1])


def simulated(heads=400, images=200, shift=-3.0):
    """Scores that are N(0, 1) for strangers and N(shift, 1) for members, one of each class of its half to a head."""
    chance = np.random.default_rng(3)
    half, of_image = np.repeat([FIRST, SECOND], heads // 2), np.repeat([FIRST, SECOND], images // 2)
    labels = np.arange(images) % 10
    member = np.zeros((heads, images), bool)
    for head in range(heads):
        for number in range(10):
            member[head, chance.choice(np.flatnonzero((of_image == half[head]) & (labels == number)))] = True
    stranger = (of_image == half[:, None]) & ~member
    return Attacked(labels, chance.normal(size=member.shape) + shift * member, member, stranger, half)


def test_rates_of_a_known_law_lie_in_their_intervals():
    found = rates(simulated(), (0.01, 0.001))
    for place, (rate, power) in enumerate(((0.01, 0.7502), (0.001, 0.4639))):  # Φ(3 + Φ⁻¹(rate))
        assert found.fpr[place, 1] <= rate <= found.fpr[place, 2]
        assert found.tpr[place, 1] <= power <= found.tpr[place, 2]
    assert found.threshold[0] == pytest.approx(-2.326, abs=0.06)
    assert found.recovered.sum(1).tolist() == [400, 400]
    assert found.recovered[0] @ np.arange(11) == pytest.approx(found.tpr[0, 0] * 4000)


def test_strangers_of_the_other_half_are_never_counted():
    tested = simulated()
    elsewhere = ~tested.stranger & ~tested.member
    spoilt = replace(tested, scores=np.where(elsewhere, -99.0, tested.scores))
    assert np.array_equal(rates(spoilt, (0.01,)).fpr, rates(tested, (0.01,)).fpr)


def test_an_interval_is_wide_where_all_hits_are_of_one_image_on_either_side():
    """50 heads of one class, each with an image of its own behind its picture."""
    counted = ~np.eye(50, dtype=bool)
    shown = behind_the_picture(~counted, np.zeros(50, int))
    spread = np.random.default_rng(4).random((50, 50)) < 0.02
    of_a_picture, of_an_image = (np.zeros((50, 50), bool) for _ in range(2))
    of_a_picture[3], of_an_image[:, 4] = True, True
    widths = [np.ptp(share_of_pairs(hits, counted, shown)[1:]) for hits in (spread, of_a_picture, of_an_image)]
    assert widths[1] == pytest.approx(widths[2])
    assert widths[1] > 3 * widths[0]
    assert share_of_pairs(np.zeros((50, 50), bool), counted, shown)[2] == pytest.approx(1 - 0.025 ** (1 / 50))


def test_heads_that_show_the_same_image_again_make_no_interval_narrower():
    chance = np.random.default_rng(5)
    counted = ~np.eye(40, dtype=bool)
    shown = behind_the_picture(~counted, np.zeros(40, int))
    hits = (chance.normal(size=(40, 1)) + chance.normal(size=(1, 40)) + chance.normal(size=(40, 40))) < -2.5
    once = share_of_pairs(hits, counted, shown)
    often = share_of_pairs(*(np.tile(table, (20, 1)) for table in (hits, counted, shown)))
    assert often == pytest.approx(once, rel=0.02)


def test_intervals_of_pairs_cover_the_truth():
    """Scores with a part of each image on either side: P(sum of three N(0, 1) < -2.5) = Φ(-2.5/√3) = 0.0744."""
    covered = 0
    for seed in range(200):
        chance = np.random.default_rng(seed)
        counted = ~np.eye(60, dtype=bool)
        shown = behind_the_picture(~counted, np.zeros(60, int))
        hits = (chance.normal(size=(60, 1)) + chance.normal(size=(1, 60)) + chance.normal(size=(60, 60))) < -2.5
        _, low, high = share_of_pairs(hits, counted, shown)
        covered += low <= 0.0744 <= high
    assert covered >= 180  # 95 % of 200, less what chance may take


def test_the_private_images_are_in_no_part_and_parts_share_none():
    labels = np.arange(400) % 4
    private = np.zeros(400, bool)
    private[:40] = True
    parts = parts_of(labels, private, 2, np.random.default_rng(0))
    assert (parts[:40] == LEFT_OUT).all()
    for number in range(4):
        counts = [int(((parts == part) & (labels == number)).sum()) for part in (NULL, FIRST, SECOND)]
        assert counts == [45, 23, 22]


def test_too_few_held_out_images_are_refused():
    with pytest.raises(UserError, match=r"class 0 has 8 images .* needs at least 12"):
        parts_of(np.arange(16) % 2, np.zeros(16, bool), 2, np.random.default_rng(0))
