import numpy as np
import pytest

from pipeline.data.deal import deal, deal_identities, random_labels
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


def test_random_labels_are_balanced_and_their_own():
    labels = random_labels(5000, 10, seed=3)
    assert (np.bincount(labels) == 500).all()
    assert (labels == random_labels(5000, 10, seed=3)).all()
    assert abs(np.corrcoef(labels, np.arange(5000))[0, 1]) < 0.05
    indices = deal(labels, class_size=4, models=125, seed=3)
    assert len(np.unique(indices)) == 5000
    assert (labels[indices] == np.repeat(np.arange(10), 4)).all()


IDENTITIES = np.random.default_rng(1).integers(100, 160, 900)


@pytest.mark.parametrize("class_size", [1, 4])
def test_a_person_among_others_is_dealt_as_published(class_size):
    """The published walk, written out: permute the photos, go through them, take the person's first `class_size`."""
    indices, labels = deal_identities(IDENTITIES, class_size, models=300, seed=2)
    assert indices.shape == labels.shape == (300, 10 * class_size)
    assert indices.dtype == np.int32
    assert (labels == np.repeat([1, 0], [class_size, 9 * class_size])).all()
    permuted = np.random.default_rng(2).permutation(len(IDENTITIES))
    expected = []
    for photo in permuted:
        own = [other for other in permuted if IDENTITIES[other] == IDENTITIES[photo]]
        if len(own) > class_size:
            expected.append(own[:class_size])
    assert indices[:, :class_size].tolist() == [list(map(int, row)) for row in expected[:300]]
    persons = IDENTITIES[indices]
    assert (persons[:, class_size:] != persons[:, :1]).all()
    others, counts = np.unique(indices[:, class_size:], return_counts=True)
    assert len(others) > 850 or class_size == 1
    assert counts.max() < 30


def test_the_seed_fixes_persons_and_photos():
    first, again = (deal_identities(IDENTITIES, 2, 50, seed=9)[0] for _ in range(2))
    assert (first == again).all()
    assert (first != deal_identities(IDENTITIES, 2, 50, seed=10)[0]).any()


def test_identities_with_too_few_photos_are_refused():
    with pytest.raises(UserError, match="there are 0: deal at most 0 models"):
        deal_identities(np.array([5, 5, 6, 6]), class_size=2, models=1, seed=0)
    with pytest.raises(UserError, match="there is one person in all"):
        deal_identities(np.array([5, 5, 5]), class_size=1, models=1, seed=0)
