"""Wrong files given to an audit: heads of other shapes, images or labels that do not fit, impossible settings."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.bad_input.case import Case

MINE = "extends: demo\nsubject: {head: head.pth, images: own.npz}\n"
LABELS = np.arange(10)


class Code:
    def __reduce__(self):
        return print, ("this code was run",)


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def head(outputs: int = 10, inputs: int = 256, bias: float = 0.0) -> bytes:
    return saved({"fc.weight": torch.zeros(outputs, inputs), "fc.bias": torch.full((outputs,), bias)})


def archive(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def own(labels: np.ndarray = LABELS, kind: type = np.uint8) -> bytes:
    return archive(images=np.zeros((len(labels), 8, 8), kind), labels=labels)


def case(wrong: str, line: str, experiment: str = MINE, make: Callable[[Path], None] | None = None, **files) -> Case:
    laid = {"mine.yml": experiment, "head.pth": head(), "own.npz": own()} | {
        name.replace("_", "."): content for name, content in files.items()
    }
    laid = {name: content for name, content in laid.items() if content is not None}
    return Case(wrong, "jobs audit HERE/mine.yml RUNS --executor inline", 2, line, laid, make)


def folder_of(*names: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        for name in ("", *names):
            (here / "own" / name).mkdir()

    return make


FOLDER = "extends: demo\nsubject: {head: head.pth, images: own}\n"


def adversary(here: Path) -> None:
    """Images of which a class has too few to set a null with."""
    images, labels = np.zeros((100, 8, 8), np.uint8), np.arange(100) % 10
    few = {"test_images": images[:60], "test_labels": labels[:60]}
    np.savez(here / "theirs.npz", train_images=images, train_labels=labels, **few)


CASES = [
    Case("no subject", "jobs audit demo RUNS", 2, "has no part subject; name the model and its training images"),
    case("no head", "subject.head: HERE/head.pth does not exist", head_pth=None),
    case(
        "a head of another width",
        r"holds fc.weight \(10, 512\).*expected one linear head 256→10",
        head_pth=head(10, 512),
    ),
    case("a head of fewer classes", r"holds fc.weight \(9, 256\).*expected one linear head 256→10", head_pth=head(9)),
    case("a pickle with code", "head.pth: holds objects beside tensors", head_pth=saved(Code())),
    case("a head that is a text", "head.pth: (is no file of PyTorch|holds objects)", head_pth="weights"),
    case("a head that is not finite", "10 of 10 numbers of fc.bias are not finite", head_pth=head(bias=float("nan"))),
    case(
        "a head with names alone",
        "weight is of type str; expected names with tensors",
        head_pth=saved({"weight": "none"}),
    ),
    case("no images", "subject.images: HERE/own.npz does not exist", own_npz=None),
    case(
        "no labels", r"own.npz has no labels \(it has images\)", own_npz=archive(images=np.zeros((10, 8, 8), np.uint8))
    ),
    case("labels alone", r"own.npz has no images \(it has labels\)", own_npz=archive(labels=LABELS)),
    case(
        "images of another class", "has images of class 10, and the head's classes are 0 … 9", own_npz=own(LABELS + 1)
    ),
    case("negative labels", "labels must be 0 or more", own_npz=own(LABELS - 1)),
    case(
        "two images of a class",
        "has 2 images of class 1; the recipe trains on 1 of every class",
        own_npz=own(np.r_[LABELS, 1]),
    ),
    case("a class without an image", "has 0 images of class 9", own_npz=own(LABELS[:9])),
    case("images that are no bytes", "cannot be read .*expected .*uint8", own_npz=own(kind=float)),
    case("images that are no archive", "own.npz cannot be read", own_npz="images"),
    case("pickled images", "own.npz cannot be read", own_npz=archive(images=np.array([Code()], object), labels=LABELS)),
    case(
        "an empty folder",
        "own cannot be read .*; a folder holds a folder of images for each class",
        FOLDER,
        folder_of(),
    ),
    case("folders without images", "own cannot be read", FOLDER, folder_of("0", "1")),
    case("more sets than heads", "images lists 2 sets for 1 heads", MINE.replace("own.npz", "[own.npz, own.npz]")),
    case(
        "few held-out images",
        "class 0 has 6 images in the test split beside the private ones; an audit needs at least 8",
        MINE + "data: {name: npz, path: theirs.npz, size: 16}\nshadow_models: {test_models: 6, models_per_seed: 10}\n"
        "head_inversion: {batch_size: 64}\n",
        adversary,
    ),
    Case(
        "one victim",
        "jobs run demo RUNS --set shadow_models.test_models=1 --set evaluation.nulls=[correlation]",
        2,
        "shadow_models.test_models: 1; rates need at least 4 victims. How exposed one model of your own is",
    ),
    case("no key images", "subject.images is missing", "extends: demo\nsubject: {head: head.pth}\n"),
    case(
        "a rate of one",
        "subject.false_positive_rates.0 should be less than 0.5",
        MINE.replace("}", ", false_positive_rates: [1.0]}"),
    ),
    case(
        "few tested heads",
        "subject.tested_heads should be greater than or equal to 20",
        MINE.replace("}", ", tested_heads: 3}"),
    ),
    case(
        "an attack on weights",
        "subject needs the part reconstructor, with reads: features",
        MINE + "reconstructor: {reads: weights}\n",
    ),
    case("a head of two layers", "subject is a linear head", MINE + "shadow_models: {training: {hidden: 4}}\n"),
]
