"""Rates and their intervals, against tables worked out by hand, closed forms, and the truth of known laws."""

import numpy as np
import pytest
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from benchmarks.coverage import DEVIATIONS, FPRS, MEANS, THRESHOLD, coverage, table, truths
from pipeline.errors import UserError
from pipeline.evaluation.curves import auc, empirical_tpr, published
from pipeline.evaluation.intervals import Victims, clopper_pearson, over_dealings, share
from pipeline.evaluation.rates import METHODS, rates, victims_by_recovered


def test_auc_and_tpr_of_a_table_worked_out_by_hand():
    h0, h1 = np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [3.0], [5.0], [6.0]])
    assert auc(h0, h1) == pytest.approx((4 + 3.5 + 2) / 12)
    assert empirical_tpr(h0, h1, [0.0, 0.25, 0.5, 1.0]) == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_the_published_procedure_on_a_table_worked_out_by_hand():
    """φ of the last class: H0 -3, -1 (mean -2, deviation 1); H1 -1.5, -1.5, 2.5, 2.5 (mean 0.5, deviation 2).

    The log-likelihood ratio of H1 to H0, ½(φ+2)² - ⅛(φ-½)² - log 2, is a parabola with its least value at -17/6; from
    there, -3 is 1/6 away, -1.5 is 4/3, -1 is 11/6 and 2.5 is 16/3: the order of the evidence is that of φ. So at FPR 0
    and ¼ thresholds lie below -1.5, where one of two H0 scores is; at ½ below 2.5, where both are.
    Analytic: Φ(2.5 + 2 Φ⁻¹(f)), at f = Φ(-1) Φ(0.5) = 0.6914624613, at f = ½ Φ(2.5) = 0.9937903347.
    """
    h0 = 4 * expit(np.array([[5.0, -3.0], [-2.0, -1.0]]))
    h1 = 4 * expit(np.array([[-4.0, -1.5], [0.0, 2.5], [1.0, -1.5], [3.0, 2.5]]))
    found = published(h0, h1, 4 * expit(-1.25), np.array([0.0, 0.25, ndtr(-1.0), 0.5]))
    assert found.tpr_at_threshold == pytest.approx(2 / 4, abs=1e-6)
    assert found.fpr_at_threshold == pytest.approx(3 / 8, abs=1e-6)
    assert found.empirical == pytest.approx([0.5, 0.5, 0.5, 1.0], abs=1e-6)
    assert found.neyman_pearson == pytest.approx([0.5, 0.5, 0.5, 1.0], abs=1e-6)
    assert found.analytic[0] == 0
    assert found.analytic[2:] == pytest.approx([0.6914624613, 0.9937903347], abs=1e-6)


def test_rates_and_curves_of_gaussian_scores_are_the_closed_forms_within_their_intervals():
    rng = np.random.default_rng(0)
    h0, h1 = (table(rng, 892, 10, *law, 0.0) for law in zip(MEANS, DEVIATIONS, strict=True))
    found, truth = rates(h0, h1, 4 * expit(THRESHOLD), FPRS, 200, rng), truths()

    def agrees(estimate, exact, widths=1.6):  # of the half width: three standard errors
        value, low, high = np.moveaxis(estimate, -1, 0)
        return np.all((exact > value - widths * (value - low)) & (exact < value + widths * (high - value)))

    for place, method in enumerate(METHODS):
        assert agrees(found.tpr[place], truth[method])
    for name in ("auc", "threshold_tpr", "threshold_fpr"):
        assert agrees(getattr(found, name), truth[name])
    inner = (found.curve_fpr > 0.002) & (found.curve_fpr < 0.98)
    exact = ndtr((MEANS[1] - MEANS[0] + DEVIATIONS[1] * ndtri(found.curve_fpr[inner])) / DEVIATIONS[0])
    assert agrees(found.curve[0, inner], exact)
    assert found.measured_fpr[0] == pytest.approx(FPRS, rel=0.6)
    assert found.measured_fpr[0, 2:] == pytest.approx(FPRS[2:], rel=0.25)


@pytest.mark.parametrize(("correlation", "persons"), [(0.0, False), (0.5, False), (0.5, True)])
def test_intervals_cover_the_truth(correlation, persons):
    """benchmarks.coverage with fewer draws: were every coverage 93 %, one run in 10,000 would fall below the bound.

    Ten victims about each person are as ten rows of one victim: without units, nominal 95 % covered 57 to 88 %.
    """
    draws, units = (60, 300) if persons else (150, 892)
    least = binom.ppf(1e-4 / 18, draws, 0.93) / draws
    for name, (covered, _) in coverage(units, 10, correlation, draws, 100, persons=persons).items():
        assert np.all(covered >= least), (name, covered)


def test_intervals_know_that_test_seeds_deal_the_same_images():
    """Four seeds deal 300 images anew; an image's own share of φ's variance is 0.8. The truth is that of all images.

    In 1,000 such draws 95 to 99 % were covered; with 1,200 victims taken as independent, 67 to 80 % of 300 draws.
    """
    rng, images, seeds, draws = np.random.default_rng(0), 300, 4, 150
    truth, covered = truths(), dict.fromkeys(("auc", "threshold_tpr", "threshold_fpr"), 0)
    for _ in range(draws):
        own = rng.normal(size=(2, images))  # how hard an image is to rebuild, and how near chance comes to it
        order = np.concatenate([rng.permutation(images) for _ in range(seeds)])
        drawn = np.sqrt(0.8) * own[:, order] + np.sqrt(0.2) * rng.normal(size=(2, seeds * images))
        h0, h1 = (
            4 * expit(mean + deviation * phi)[:, None]
            for mean, deviation, phi in zip(MEANS, DEVIATIONS, drawn, strict=True)
        )
        found = rates(h0, h1, 4 * expit(THRESHOLD), FPRS, 60, rng, dealings=seeds)
        for name in covered:
            _, low, high = getattr(found, name)
            covered[name] += low <= truth[name][0] <= high
    assert min(covered.values()) >= binom.ppf(1e-4, draws, 0.93), covered


def test_a_mean_over_seeds_has_students_interval():
    found = over_dealings(np.array([[0.5, 1.0], [0.6, 1.0], [0.7, 1.0]]))
    reach = 4.302652729911275 * 0.1 / np.sqrt(3)  # t of two degrees of freedom, 97.5 %
    assert found[0] == pytest.approx([0.6, 0.6 - reach, 0.6 + reach])
    assert found[1] == pytest.approx([1, 1, 1])


def test_a_persons_victims_are_halved_together_and_counted_as_one():
    units = np.repeat(np.arange(30), 4)
    victims = Victims.halved(units, np.random.default_rng(0))
    assert all(len(set(victims.half[units == unit])) == 1 for unit in range(30))
    drawn = victims.draw(np.random.default_rng(1)).reshape(30, 4)
    assert (drawn == drawn[:, :1]).all() and drawn[:, 0].sum() == 30
    hits = np.repeat(np.arange(30) < 8, 4)[:, None]
    assert share(hits, units) == pytest.approx(share(np.arange(30)[:, None] < 8))
    with pytest.raises(UserError, match="about 3 persons; rates need at least 4"):
        rates(np.full((9, 1), 0.1), np.full((9, 1), 0.2), 0.1, (0.1,), 20, np.random.default_rng(0), np.arange(9) % 3)


def test_a_share_of_independent_rows_has_clopper_and_pearsons_interval():
    value, low, high = share(np.arange(50)[:, None] < 8)
    assert value == 0.16
    assert binom.sf(7, 50, low) == pytest.approx(0.025)
    assert binom.cdf(8, 50, high) == pytest.approx(0.025)
    assert clopper_pearson(0.0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(1.0, 20) == pytest.approx((0.025 ** (1 / 20), 1))


def test_rows_that_repeat_their_victim_add_nothing():
    hits = np.arange(50)[:, None] < 8
    assert share(np.repeat(hits, 10, axis=1)) == pytest.approx(share(hits))


def test_what_the_sample_cannot_resolve_is_a_bound():
    rng = np.random.default_rng(0)
    h0, h1 = (table(rng, 40, 1, mean, 1, 0.0) for mean in (-1.0, 0.0))
    found = rates(h0, h1, 0.1, (0.001, 0.04, 0.05), 50, rng)
    assert found.resolved.tolist() == [False, False, True]  # 20 null scores in a half: 1 / 21 is the least
    assert found.tpr[0, 0] == pytest.approx(found.tpr[0, 1])


def test_where_every_victim_agrees_the_interval_knows_how_many_they_are():
    near, far = np.full((20, 1), 0.01), np.full((20, 1), 1.0)
    found = rates(near, far, 0.05, (0.1,), 50, np.random.default_rng(0))
    doubt = 1 - 0.025 ** (1 / 20)
    assert found.auc == pytest.approx([1, 1 - doubt, 1])
    assert found.tpr[0, 0] == pytest.approx([1, 1 - doubt, 1])
    assert found.threshold_fpr == pytest.approx([0, 0, doubt])
    assert np.isnan(found.tpr[1:]).all()  # nothing to fit


def test_equal_scores_say_nothing_and_no_more():
    same = np.full((20, 3), 0.3)
    found = rates(same, same, 0.05, (0.1,), 50, np.random.default_rng(0))
    assert found.auc[0] == 0.5
    assert found.tpr[0, 0, 0] == 0  # no threshold lets a tenth of them through
    assert np.isnan(found.tpr[1:]).all()


def test_tables_of_different_length_are_rated_too():
    rng = np.random.default_rng(3)
    h0, h1 = table(rng, 120, 4, -1.0, 1, 0.0), table(rng, 700, 2, 0.0, 1, 0.0)
    found = rates(h0, h1, 0.5, (0.05,), 100, rng)
    assert found.auc[1] < ndtr(1 / np.sqrt(2)) < found.auc[2]
    assert found.tpr[0, 0, 1] < ndtr(1 + ndtri(0.05)) < found.tpr[0, 0, 2]


NAN = np.full((5, 2), 0.1)
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (NAN, "1 of 10 scores cannot be an MSE .* victim 3, reconstruction 1: nan"),
        (np.full((5, 1), 4.5), r"5 of 5 scores cannot be an MSE between images in \[-1, 1\]"),
        (np.zeros((1, 10)), r"H0 has the shape \(1, 10\); rates need .* at least 4 victims"),
        (np.zeros((9, 0)), r"H0 has the shape \(9, 0\)"),
    ],
)
def test_scores_that_say_nothing_are_refused(bad, said):
    with pytest.raises(UserError, match=said):
        rates(bad, np.full((5, 1), 0.2), 0.1, (0.1,), 20, np.random.default_rng(0))


def test_victims_are_counted_by_what_they_give_away():
    hits = np.array([[True, True, False], [False, False, False], [True, True, False], [True, True, True]])
    assert victims_by_recovered(hits).tolist() == [1, 0, 2, 1]
