"""What is added stands alone: an attack is a package, its stages and a name in the list; a data set, a backbone or a
method of gradient inversion is one file."""

import shutil
import subprocess
import sys

import pytest

from pipeline import ROOT

ENTRY = '''
"""Guesses the mean of numbers, as an attack."""
from pydantic import PositiveInt

from pipeline.attack import Attack, Part
from pipeline.settings import Settings


class Guess(Settings):
    numbers: PositiveInt = 8


def refuse(experiment):
    if experiment.guess and experiment.guess.numbers > 100:
        raise ValueError("guess.numbers is more than anybody can guess")


def error(guesses):
    return abs(float(guesses.attributes("guess")["mean"]) - 3.5)


def chapter(experiment, inputs):
    from pipeline.report.page import Chapter, Section

    return Chapter([Section("Guessing", "A chapter of its own.")], f"off by {error(inputs['guesses']):.2f}")


def summarise(finished):
    from pipeline.report.table import Table

    rows = [[one.experiment.title, "mean", f"{error(one.shards_of('guesses')):.2f}"] for one in finished]
    return Table(["experiment", "of", "error"], rows, "guesses")


ATTACK = Attack(
    name="guess",
    parts={"guess": Part(Guess)},
    stages=("guesses",),
    is_made=lambda experiment: experiment.guess is not None,
    refuse=refuse,
    describe=lambda experiment, inputs: [f"{experiment.guess.numbers} numbers"],
    shown=lambda experiment: {},
    chapter=chapter,
    summarise=summarise,
)
'''
STAGE = '''
"""Guess the mean of numbers."""
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage


def run(work):
    import numpy as np

    numbers = np.arange(work.experiment.guess.numbers)
    return Result({"numbers": numbers}, {"mean": float(numbers.mean())})


STAGE = Stage(
    name="guesses",
    shards=lambda experiment: ["guess"] if experiment.guess else [],
    inputs=lambda experiment: [],
    settings=lambda experiment, shard: experiment.guess.model_dump(mode="json"),
    resources=lambda experiment: Resources(seconds_per_shard=1.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
'''


DATA_SET = '''
"""Stripes: grey images whose class is the width of their stripes."""
from pipeline.data.record import Record


def read(dataset, split, root):
    import numpy as np

    from pipeline.data.sources import from_array

    labels = np.arange(20) % 4
    columns = np.indices((16, 16))[1]
    return from_array(np.stack([columns // (k + 1) % 2 * 255 for k in labels]).astype(np.uint8), labels)


RECORDS = (Record("stripes", read, "20 images of stripes", "none", ("nothing",), channels=1, size=16),)
'''
BACKBONE = '''
"""The image itself, in 4×4 pixels."""
from pipeline.networks.record import Record


def build():
    from torch import nn

    return nn.Flatten()


def preprocess(images):
    from torchvision.transforms import functional

    return functional.resize(images, [4, 4], antialias=True).float()


RECORDS = (Record("pixels", 16, build, preprocess),)
'''

METHOD = '''
"""Says that every image is grey."""
from pydantic import PositiveFloat

from pipeline.gradient_inversion.method import Method
from pipeline.settings import Settings


class Grey(Settings):
    level: PositiveFloat = 0.5


def run(network, gradient, batch_size, settings, generator, exposure=None):
    import torch

    from pipeline.gradient_inversion.optimisation import invert_one_by_one

    grey = torch.full((1, *network.image_shape), settings.level).double()
    return invert_one_by_one(network, gradient, lambda given, label: grey, exposure)


METHODS = (Method("grey", Grey, run),)
'''


@pytest.fixture
def program(tmp_path):
    """A copy of the program."""
    for floor in ("pipeline", "stages", "jobs"):
        shutil.copytree(ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def checkout(program):
    """With one more package, one more stage and one more name in the list of attacks."""
    package = program / "pipeline" / "guess"
    package.mkdir()
    (package / "__init__.py").write_text('"""Guessing."""\n')
    (package / "entry.py").write_text(ENTRY)
    (program / "stages" / "guesses.py").write_text(STAGE)
    listed = program / "pipeline" / "attacks.py"
    listed.write_text(listed.read_text().replace('"kkt")', '"kkt", "guess")'))
    (program / "mine.yml").write_text("guess:\n  numbers: 10\n")
    return program


def jobs(checkout, *arguments):
    return python(checkout, "-m", "jobs", *arguments)


def python(checkout, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_a_new_attack_is_a_package_its_stages_and_an_entry(checkout):
    done = jobs(checkout, "run", "mine.yml", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    page = (checkout / "runs" / "mine" / "report" / "index.html").read_text()
    assert "10 numbers, experiment seed 0. off by 1.00." in page
    assert "A chapter of its own." in page
    told = jobs(checkout, "compare", "mine.yml")
    assert told.returncode == 0, told.stderr
    assert [line.split() for line in told.stdout.splitlines()] == [
        ["experiment", "of", "error"],
        ["mine", "mean", "1.00"],
    ]
    refused = jobs(checkout, "run", "mine.yml", "--set", "guess.numbers=101")
    assert refused.returncode == 2
    assert refused.stderr == "error: mine.yml: guess.numbers is more than anybody can guess\n"


def test_a_new_data_set_is_one_file(program):
    (program / "pipeline" / "data" / "sets" / "stripes.py").write_text(DATA_SET)
    lines = (
        "from pathlib import Path; from pipeline.data.settings import DataSet; from pipeline.data.sources import load; "
        "from pipeline.data.images import target_images; data = DataSet(name='stripes'); "
        "print(target_images(load(data, 'train', Path('nowhere')), data.image_size).shape, data.channels)"
    )
    done = python(program, "-c", lines)
    assert done.stdout == "torch.Size([20, 1, 16, 16]) 1\n", done.stderr
    (program / "mine.yml").write_text("data: {name: stripe}\n")
    refused = jobs(program, "run", "mine.yml")
    assert "'stripes'" in refused.stderr and refused.returncode == 2


def test_a_new_backbone_is_one_file(program):
    (program / "pipeline" / "networks" / "known" / "pixels.py").write_text(BACKBONE)
    lines = (
        "from pathlib import Path; from pipeline.data.settings import DataSet; from pipeline.data.sources import load; "
        "from pipeline.networks.settings import Backbone; from pipeline.networks.backbones import *; "
        "digits = load(DataSet(name='mnist_digits'), 'test', Path()).part(range(3)); "
        "print(extract_features(Classifier(Backbone(name='pixels').name, 10), digits).shape)"
    )
    done = python(program, "-c", lines)
    assert done.stdout == "torch.Size([3, 16])\n", done.stderr


def test_a_new_method_of_gradient_inversion_is_one_file(program):
    (program / "pipeline" / "gradient_inversion" / "methods" / "grey.py").write_text(METHOD)
    (program / "mine.yml").write_text(
        "data: {name: mnist_digits}\n"
        "gradient_inversion: {network: {name: dlg_lenet}, images: 2, attacks: [grey], grey: {level: 0.25}}\n"
    )
    done = jobs(program, "run", "mine.yml", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    assert "certificate: gradient reproduced to" in (program / "runs/mine/report/index.html").read_text()
