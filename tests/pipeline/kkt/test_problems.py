"""Problems: which images, in which order, under which labels."""

import numpy as np
import pytest
import torch

from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.kkt.problems import choose, load_problem, signs
from pipeline.kkt.settings import ProblemSettings
from pipeline.kkt.toys import TOYS

DIGITS = DataSet(name="mnist_digits", size=28)


def settings(labels="odd_even", kind="binary", images_per_class=5, choice="first"):
    return ProblemSettings(labels=labels, kind=kind, images_per_class=images_per_class, choice=choice)


def test_the_first_of_each_class_in_file_order():
    """By a plain loop over the file: even digits are class 0, odd ones class 1."""
    problem = load_problem(settings(), DIGITS, None, 0)
    source = load(DIGITS, "train", None)
    counts, expected = [0, 0], []
    for place, digit in enumerate(source.labels):
        if counts[digit % 2] < 5:
            counts[digit % 2] += 1
            expected.append(place)
    assert problem.indices.tolist() == expected
    assert problem.labels.tolist() == [int(source.labels[place]) % 2 for place in expected]
    pixels = source.read(np.array(expected)).double() / 255
    assert torch.equal(problem.images, pixels)
    assert torch.equal(problem.mean, pixels.mean(0))
    assert problem.outputs == 1
    assert len(problem.held_out_images) == len(load(DIGITS, "test", None))


def test_a_random_choice_is_balanced_and_follows_the_seed():
    labels = np.arange(300) % 10
    drawn = [choose(labels, settings("classes", "multiclass", 3, "random"), seed)[0] for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert np.bincount(labels[drawn[2]]).tolist() == [3] * 10


def test_animals_are_the_positive_class():
    """As published (arXiv 2206.07758: its labels are 0 for classes 0, 1, 8 and 9, else 1)."""
    from pipeline.kkt.problems import LABELLINGS

    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    animals = LABELLINGS["vehicles_animals"](np.arange(10))
    assert [name for name, one in zip(classes, animals, strict=True) if one] == classes[2:8]
    assert signs(torch.from_numpy(animals)).tolist() == [-1, -1, 1, 1, 1, 1, 1, 1, -1, -1]


def test_validation_images_are_the_next_and_the_test_split_can_be_cut():
    """By plain loops over the file's labels, as the published programs slice each class."""
    sized = settings(images_per_class=5).model_copy(update={"validation_per_class": 3, "held_out_per_class": 4})
    problem, whole = load_problem(sized, DIGITS, None, 0), load_problem(settings(), DIGITS, None, 0)
    assert torch.equal(problem.images, whole.images)
    source, test = load(DIGITS, "train", None), load(DIGITS, "test", None)
    next_ones = sorted(place for odd in (0, 1) for place in np.flatnonzero(source.labels % 2 == odd)[5:8])
    images, labels = problem.validation
    assert torch.equal(images, source.read(np.array(next_ones)).double() / 255)
    assert labels.tolist() == (source.labels[next_ones] % 2).tolist()
    first = sorted(place for odd in (0, 1) for place in np.flatnonzero(test.labels % 2 == odd)[:4])
    assert problem.held_out_labels.tolist() == (test.labels[first] % 2).tolist()
    assert torch.equal(problem.held_out_images, test.read(np.array(first)).double() / 255)
    with pytest.raises(UserError, match=r"kkt.problem.held_out_per_class is 90000; class \d has only \d+ images"):
        load_problem(settings().model_copy(update={"held_out_per_class": 90_000}), DIGITS, None, 0)


def test_the_mean_can_stay_where_it_is():
    problem = load_problem(settings().model_copy(update={"subtract_mean": False}), DIGITS, None, 0)
    assert torch.equal(problem.mean, torch.zeros(1, 28, 28).double())


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_balanced_points_of_the_unit_cube_and_held_out_ones_are_others(name):
    problem = load_problem(settings(name, images_per_class=18), None, None, 0)
    assert problem.images.shape == (36, 3 if name.startswith("red_blue") else 2, 1, 1)
    assert problem.labels.bincount().tolist() == [18, 18]
    assert problem.images.min() >= 0
    assert problem.images.max() <= 1
    met = torch.isclose(problem.images[:, None], problem.held_out_images[None]).flatten(2).all(-1).any()
    assert met == (name == "red_blue_pure")  # where all images of a class are one


def test_the_spirals_arms_are_half_a_turn_apart():
    """Turned by half a turn, a point of one arm lies on the other: the angle less 2π·radius tells the arm."""
    points, labels = TOYS["spiral"](50, torch.Generator().manual_seed(0))
    x, y = (points.flatten(1) * 2 - 1).t()
    phase = torch.atan2(y, x) - 2 * torch.pi * (x.square() + y.square()).sqrt() - torch.pi * labels
    assert torch.allclose(phase.cos(), torch.ones(100).double())


@pytest.mark.parametrize(
    ("labels", "chosen", "said"),
    [
        (np.zeros(20, int), settings(), "gives every image one class"),
        (np.ones(20, int), settings(), "is 5; class 0 has only 0 images"),
        (np.array([0, 1, 1, 1]), settings(), "is 5; class 0 has only 1 images"),
    ],
)
def test_classes_that_cannot_be_filled_are_named(labels, chosen, said):
    with pytest.raises(UserError, match=said):
        choose(labels, chosen, 0)


def test_a_grid_of_another_size_is_refused_with_the_sizes_there_are():
    with pytest.raises(UserError, match="a square grid has 2, 8, 18, 32, 50"):
        load_problem(settings("grid_chess", images_per_class=10), None, None, 0)
