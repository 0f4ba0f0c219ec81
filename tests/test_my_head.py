"""The examples: scripts that know nothing of this project, and experiments that fit what they make."""

import ast
import importlib.util
from types import ModuleType

import numpy as np
import pytest
import torch

from pipeline import ROOT
from pipeline.audit.private_images import read_private_images
from pipeline.audit.subject import read_heads
from pipeline.config import load
from pipeline.data.settings import DataSet
from pipeline.data.sources import load as load_images
from pipeline.networks.backbones import Classifier, extract_features, load_trained_weights

MY_HEAD = ROOT / "examples/my_head"


@pytest.fixture(scope="module")
def train() -> ModuleType:
    specification = importlib.util.spec_from_file_location("my_head_train", MY_HEAD / "train.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_script_imports_nothing_of_the_project():
    tree = ast.parse((MY_HEAD / "train.py").read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not {name.partition(".")[0] for name in names} & {"pipeline", "stages", "jobs", "tests"}


def test_its_backbone_gives_the_features_that_an_audit_expects(train, tmp_path):
    digits = load_images(DataSet(name="mnist_digits"), "test", tmp_path).part(range(20))
    classifier = Classifier("vgg_tiny", classes=1)
    load_trained_weights(classifier, torch.load(train.BACKBONE, weights_only=True), "backbone")
    expected = extract_features(classifier, digits, lambda *_: None)
    found = train.Backbone()(digits.read(np.arange(20))[:, 0].numpy())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["audit", "audit_default", "audit_known"])
def test_the_experiments_fit_what_the_script_makes(train, tmp_path, monkeypatch, name):
    monkeypatch.setattr(train, "SETS", 2)
    train.main(tmp_path)
    kind = {"audit": "small", "audit_default": "default", "audit_known": "known"}[name]
    written = load(MY_HEAD / f"{name}.yml")
    assert written.subject.heads == tuple(str(MY_HEAD / f"made/{kind}/{number}.pth") for number in range(10))
    assert written.subject.sets == tuple(str(MY_HEAD / f"made/private/{number}.npz") for number in range(10))
    recipe = written.shadow_models.training
    assert (recipe.learning_rate, recipe.epochs, recipe.weight_decay) == (
        train.LEARNING_RATE,
        train.EPOCHS,
        train.WEIGHT_DECAY,
    )
    assert (recipe.initial == "normal") == (kind == "small")
    if recipe.initial_weights:
        assert recipe.initial_weights == str(MY_HEAD / "made/initial.pth")
    one = [f"subject.head={tmp_path}/{kind}/0.pth", f"subject.images={tmp_path}/private/0.npz"]
    here = load(MY_HEAD / f"{name}.yml", one)
    assert read_heads(here)[0].shape == (2570,)
    private = read_private_images(str(tmp_path / "private/0.npz"), here.data, 10, 1)
    assert private.source.labels.tolist() == list(range(10))
