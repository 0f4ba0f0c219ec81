"""Descriptions of training that contradict themselves are refused before any work starts."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from pipeline.shadow.batched import OPTIMIZERS
from pipeline.shadow.settings import Optimizer, Privacy, Training

BASE = {"learning_rate": 0.01, "init_std": 0.002}
PRIVATE = {"clip_norm": 1.0, "sample_rate": 0.5, "steps": 10, "noise_multiplier": 1.0}


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({}, "give epochs, or private.steps"),
        ({"epochs": 0}, "greater than 0"),
        ({"epochs": 5, "optimizer": "lbfgs"}, "'sgd', 'adam', 'adamw'"),
        ({"epochs": 5, "optimizer": "adam", "momentum": 0.9}, "momentum belongs to optimizer: sgd"),
        ({"epochs": 5, "optimizer": "rprop", "weight_decay": 0.1}, "rprop has no weight_decay"),
        ({"epochs": 5, "positive_weight": 2.0}, "positive_weight needs classes: 1"),
        ({"epochs": 5, "restart": {"loss_below": 0.1}}, "restart needs a hidden layer"),
        ({"epochs": 5, "engine": "opacus"}, "reference implementation of private training"),
        ({"epochs": 5, "private": PRIVATE}, "set epochs: null"),
        ({"batch_size": 9, "private": PRIVATE}, r"state private.sample_rate \(q\) and private.steps \(T\)"),
        ({"optimizer": "adam", "private": PRIVATE}, "optimizer must be sgd"),
        ({"hidden": 4, "restart": {"loss_below": 0.1}, "private": PRIVATE}, "restart cannot be combined with private"),
        ({"engine": "opacus", "private": PRIVATE | {"sample_rate": 0.4}}, "samples at 1, 1/2, 1/3"),
    ],
)
def test_impossible_training(terms, reason):
    with pytest.raises(ValidationError, match=reason):
        Training(**BASE | terms)


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1, float("nan")])
def test_a_sample_rate_outside_its_range(rate):
    with pytest.raises(ValidationError, match="sample_rate"):
        Privacy(**PRIVATE | {"sample_rate": rate})


def test_clipping_without_noise_and_noise_given_twice():
    with pytest.raises(ValidationError, match="clip_norm without noise"):
        Privacy(**PRIVATE | {"noise_multiplier": None})
    with pytest.raises(ValidationError, match="give one of them"):
        Privacy(**PRIVATE | {"target_epsilon": 5.0})


def test_every_optimizer_offered_is_torchs():
    assert set(Optimizer.__args__) <= set(OPTIMIZERS)


def test_settings_do_not_import_torch():
    code = "import sys, pipeline.shadow.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
