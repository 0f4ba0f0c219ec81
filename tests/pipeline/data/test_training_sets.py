"""What heads learn, for each kind of task."""

import numpy as np

from pipeline.data.settings import Task
from pipeline.data.training_sets import training_sets

LABELS = np.arange(100) % 10


def test_multiclass_sets_stand_class_after_class():
    indices, learnt = training_sets(LABELS, Task(), 2, 5, seed=3, foreign=False)
    assert indices.shape == (5, 20)
    assert (LABELS[indices] == np.repeat(np.arange(10), 2)).all()
    assert (learnt == LABELS[indices]).all()
    assert len(np.unique(indices)) == 100


def test_a_binary_head_learns_whether_the_class_is_positive():
    indices, learnt = training_sets(LABELS, Task(kind="binary", positive=(1, 3, 5, 7, 9)), 1, 4, seed=0, foreign=False)
    assert (learnt == LABELS[indices] % 2).all()


def test_foreign_images_are_dealt_by_balanced_random_labels():
    labels = np.zeros(100, np.int64)
    indices, learnt = training_sets(labels, Task(), 1, 10, seed=0, foreign=True)
    assert (learnt == np.arange(10)).all()
    assert len(np.unique(indices)) == 100
    other, _ = training_sets(labels, Task(), 1, 10, seed=1, foreign=True)
    assert (indices != other).any()


def test_an_identity_comes_first_and_alone():
    people = np.repeat(np.arange(20), 5)
    indices, learnt = training_sets(people, Task(kind="identity"), 2, 30, seed=0, foreign=False)
    assert learnt.tolist() == [[1] * 2 + [0] * 18] * 30
    for row in people[indices]:
        assert len(set(row[:2])) == 1
        assert row[0] not in row[2:]
