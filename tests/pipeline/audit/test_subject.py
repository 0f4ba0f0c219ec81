"""The user's own head and images: what is read of them, in which order, and what is refused in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.audit.private_images import read_private_images
from pipeline.audit.settings import Subject
from pipeline.config import load
from pipeline.data.settings import DataSet
from pipeline.errors import UserError

DIGITS = DataSet(name="mnist_digits")


def saved(path, labels, **changes):
    """An .npz file of images that each hold one number, that of their place."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None] + np.zeros((1, 6, 6), np.uint8)
    np.savez(path, **{"images": images, "labels": np.array(labels), **changes})
    return str(path)


def test_images_come_class_after_class_whatever_their_order(tmp_path):
    found = read_private_images(saved(tmp_path / "own.npz", [2, 0, 1]), DIGITS, classes=3, class_size=1)
    assert found.source.labels.tolist() == [0, 1, 2]
    assert found.source.read(np.arange(3))[:, 0, 0, 0].tolist() == [1, 2, 0]
    assert found.names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("labels", "changes", "line"),
    [
        ([0, 1, 5], {}, "has images of class 5, and the head's classes are 0 … 2"),
        ([0, 1, 1], {}, "has 2 images of class 1; the recipe trains on 1 of every class"),
        ([0, 1], {}, "has 0 images of class 2"),
        ([0, 1, 2], {"images": np.zeros((3, 6, 6))}, "expected .n, H, W.*uint8"),
    ],
)
def test_images_that_cannot_have_trained_the_head_are_refused(tmp_path, labels, changes, line):
    path = saved(tmp_path / "own.npz", labels, **changes)
    with pytest.raises(UserError, match=line):
        read_private_images(path, DIGITS, classes=3, class_size=1)


def test_missing_labels_are_named(tmp_path):
    np.savez(tmp_path / "own.npz", images=np.zeros((3, 6, 6), np.uint8))
    with pytest.raises(UserError, match=r"own.npz has no labels \(it has images\)"):
        read_private_images(str(tmp_path / "own.npz"), DIGITS, classes=3, class_size=1)


def folder_of(path, names):
    for number, name in enumerate(names):
        (path / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path / name / "one.png")
    return str(path)


def test_a_folder_keeps_the_names_of_its_classes(tmp_path):
    path = folder_of(tmp_path / "own", ["cat", "dog"])
    found = read_private_images(path, DataSet(name="mnist_digits"), classes=2, class_size=1)
    assert found.names == ("cat", "dog")
    assert found.source.read(np.arange(2)).shape == (2, 1, 256, 256), "grey, as the adversary's digits are"


def test_folders_named_by_numbers_are_those_classes(tmp_path):
    path = folder_of(tmp_path / "own", [str(number) for number in range(12)])
    found = read_private_images(path, DIGITS, classes=12, class_size=1)
    assert found.source.read(np.arange(12))[:, 0, 0, 0].tolist() == list(range(12))


def test_classes_are_numbered_as_in_the_adversarys_folder(tmp_path):
    adversary = tmp_path / "theirs"
    folder_of(adversary / "train", ["ape", "cat", "dog"])
    data = DataSet(name="folder", path=str(adversary))
    with pytest.raises(UserError, match="has 0 images of class 0"):
        read_private_images(folder_of(tmp_path / "own", ["cat", "dog"]), data, classes=3, class_size=1)
    with pytest.raises(UserError, match="has a class emu, which the adversary's images do not have: ape, cat, dog"):
        read_private_images(folder_of(tmp_path / "other", ["emu"]), data, classes=3, class_size=1)


def test_an_audit_depends_on_what_files_hold_and_not_on_where_they_lie(tmp_path):
    def identity(folder, labels):
        folder.mkdir()
        torch.save({"weight": torch.zeros(3, 4)}, folder / "head.pth")
        images = saved(folder / "own.npz", labels)
        return Subject(head=str(folder / "head.pth"), images=images).identity()

    first = identity(tmp_path / "here", [0, 1, 2])
    assert identity(tmp_path / "there", [0, 1, 2]) == first
    assert identity(tmp_path / "other", [0, 2, 1]) != first


def test_one_set_of_images_serves_many_heads_and_other_counts_do_not_fit():
    assert Subject(head=["a.pth", "b.pth"], images="own.npz").sets == ("own.npz", "own.npz")
    with pytest.raises(ValueError, match="lists 3 sets for 2 heads"):
        Subject(head=["a.pth", "b.pth"], images=["1.npz", "2.npz", "3.npz"])


def test_files_of_a_subject_are_named_from_its_experiments_folder(tmp_path):
    (tmp_path / "mine.yml").write_text("extends: demo\nsubject: {head: [a.pth, b.pth], images: own}\n")
    subject = load(tmp_path / "mine.yml").subject
    assert subject.heads == (str(tmp_path / "a.pth"), str(tmp_path / "b.pth"))
    assert subject.images == str(tmp_path / "own")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("reconstructor.reads=weights", "subject needs the part reconstructor, with reads: features"),
        ("shadow_models.training.hidden=4", "subject is a linear head"),
    ],
)
def test_a_subject_needs_what_attacks_it(tmp_path, override, line):
    (tmp_path / "mine.yml").write_text("extends: demo\nsubject: {head: a.pth, images: own.npz}\n")
    with pytest.raises(UserError, match=line):
        load(tmp_path / "mine.yml", [override])
