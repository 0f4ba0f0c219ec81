"""Every reader gives (images, labels) in one form, and says in one line what is missing."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.images import target_images, to_bytes, to_unit
from pipeline.data.sets.own import check_classes
from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.errors import UserError


def test_the_embedded_digits_are_mnists_first(real_data):
    for split in ("train", "test"):
        ours = load(DataSet(name="mnist_digits"), split, real_data)
        mnist = load(DataSet(name="mnist"), split, real_data)
        chosen = np.arange(len(ours))
        assert torch.equal(ours.read(chosen), mnist.read(chosen))
        assert np.array_equal(ours.labels, mnist.labels[: len(ours)])


def test_the_embedded_digits_need_nothing(tmp_path):
    train, test = (load(DataSet(name="mnist_digits"), split, tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (8000, 2000)
    assert train.read(np.array([0, 5])).shape == (2, 1, 28, 28)
    assert np.bincount(train.labels).min() == 702


def test_target_images_are_bytes_that_stand_for_minus_one_to_one(tmp_path):
    source = load(DataSet(name="mnist_digits"), "test", tmp_path)
    images = target_images(source, 32)
    assert (images.shape, images.dtype) == ((2000, 1, 32, 32), torch.uint8)
    unit = to_unit(images)
    assert (unit.min(), unit.max()) == (-1, 1)
    assert torch.equal(to_bytes(unit), images)


def test_npz(npz_file):
    source = load(DataSet(name="npz", path=str(npz_file)), "train", npz_file.parent)
    stored = np.load(npz_file)
    assert np.array_equal(source.read(np.array([7]))[0].permute(1, 2, 0).numpy(), stored["train_images"][7])
    assert source.labels.tolist() == stored["train_labels"].tolist()


def test_grey_images_of_a_user_are_read_as_colour(tmp_path):
    grey = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(tmp_path / "grey.npz", train_images=grey, train_labels=np.arange(4))
    data = DataSet(name="npz", path=str(tmp_path / "grey.npz"), size=16)
    images = target_images(load(data, "train", tmp_path), data.image_size)
    assert images.shape == (4, data.channels, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])


@pytest.mark.parametrize("broken", ["floats", "short labels", "no test split", "not an npz"])
def test_a_broken_npz_is_one_line(tmp_path, broken):
    path = tmp_path / "own.npz"
    images, labels = np.zeros((4, 8, 8), np.uint8), np.zeros(4, int)
    if broken == "floats":
        images = images.astype(float)
    if broken == "short labels":
        labels = labels[:2]
    np.savez(path, train_images=images, train_labels=labels)
    if broken == "not an npz":
        path.write_bytes(b"hello")
    with pytest.raises(UserError, match=r"own.npz") as caught:
        load(DataSet(name="npz", path=str(path)), "test" if broken == "no test split" else "train", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_of_images_by_class(tmp_path):
    for split in ("train", "test"):
        for label, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
            (tmp_path / "own" / split / label).mkdir(parents=True)
            Image.new("RGB", (40, 30), colour).save(tmp_path / "own" / split / label / "a.png")
    source = load(DataSet(name="folder", path=str(tmp_path / "own"), size=16), "train", tmp_path)
    assert source.labels.tolist() == [0, 1]
    assert target_images(source, 16)[1, :, 8, 8].tolist() == [0, 0, 255]


def test_celeba_deals_people_not_photos(celeba, tmp_path):
    base, names = celeba([3, 3, 9, 9, 3, 5, 5, 7, 7, 7], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2])

    train, test = (load(DataSet(name="celeba"), split, tmp_path) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 0, 2, 2, 0, 1, 1]
    assert test.labels.tolist() == [0, 0, 0]
    assert train.attributes.shape == (7, 40)
    assert load(DataSet(name="celeba"), "pretrain", tmp_path).labels.tolist() == [0, 0, 1, 1]
    with Image.open(base / "img_align_celeba" / names[7]) as photo:  # short side 232, centre 224, then 64: all bicubic
        scaled = photo.resize((232, 284), Image.BICUBIC)
    cropped = scaled.crop((4, 30, 228, 254))
    small = np.asarray(cropped.resize((64, 64), Image.BICUBIC)).astype(int)
    assert np.abs(test.read(np.array([0]))[0].permute(1, 2, 0).numpy() - np.asarray(cropped).astype(int)).max() <= 1
    assert np.abs(target_images(test, 64)[0].permute(1, 2, 0).numpy() - small).max() <= 1


FETCHED = ["mnist", "emnist_letters", "emnist_letters_part", "cifar10", "cifar100", "cifar100_part", "celeba"]


@pytest.mark.parametrize("name", FETCHED)
def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(tmp_path, name):
    with pytest.raises(UserError, match=f"{name} is missing or damaged: looked for {tmp_path}.*RECON_DATA") as caught:
        load(DataSet(name=name), "train", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_mnist_file_is_one_line(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60000), ("t10k", 10000)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 0x803, count, 28, 28) + bytes(100))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 0x801, count) + bytes(count))
    with pytest.raises(UserError, match="mnist is missing or damaged"):
        load(DataSet(name="mnist"), "train", tmp_path)


def test_letters_of_the_emnist_part_are_upright_and_balanced(real_data):
    train, test = (load(DataSet(name="emnist_letters_part"), split, real_data) for split in ("train", "test"))
    assert len(train) + len(test) == 11183
    assert sorted(set(train.labels)) == list(range(26))


def test_cifar10_through_torchvision(real_data):
    source = load(DataSet(name="cifar10"), "train", real_data)
    assert (len(source), source.read(np.array([0])).shape) == (50000, (1, 3, 32, 32))


def test_the_part_of_cifar100_has_its_first_images_and_a_hundred_classes(real_data):
    train, test = (load(DataSet(name="cifar100_part"), split, real_data) for split in ("train", "test"))
    assert (len(train), len(test), len(set(train.labels))) == (5000, 10000, 100)


def test_a_folder_whose_splits_have_other_classes_is_refused(tmp_path):
    for split, names in (("train", "abc"), ("test", "acd")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / split / name / "0.png")
    with pytest.raises(UserError, match=r"has the class b in train/ or test/ alone"):
        check_classes(DataSet(name="folder", path=str(tmp_path)))
