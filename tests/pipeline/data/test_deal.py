import numpy as np
import pytest

from pipeline.data.deal import deal
from pipeline.errors import UserError

LABELS = np.random.default_rng(0).integers(0, 10, 3000)


def test_sets_are_disjoint_balanced_and_ordered_by_class():
    indices = deal(LABELS, class_size=3, models=80, seed=5)
    assert indices.shape == (80, 30)
    assert indices.dtype == np.int32
    assert len(np.unique(indices)) == indices.size
    assert (LABELS[indices] == np.repeat(np.arange(10), 3)).all()


def test_the_seed_alone_fixes_the_deal_and_fewer_models_are_a_prefix():
    assert (deal(LABELS, 3, 80, seed=5)[:7] == deal(LABELS, 3, 7, seed=5)).all()
    assert (deal(LABELS, 3, 80, seed=5) != deal(LABELS, 3, 80, seed=6)).any()


def test_the_permutation_is_numpys():
    order = np.random.default_rng(11).permutation(3000)
    assert deal(LABELS, 1, 5, seed=11)[0, 4] == next(image for image in order if LABELS[image] == 4)


def test_more_models_than_the_smallest_class_deals_are_refused():
    labels = np.array([0] * 10 + [1] * 7)
    with pytest.raises(UserError, match=r"class 1 has 7: deal at most 3 models"):
        deal(labels, class_size=2, models=4, seed=0)
    with pytest.raises(UserError, match="class 1 has 0"):
        deal(np.array([0, 2, 0, 2]), class_size=1, models=1, seed=0)
