"""The typed part of an experiment: what cannot go together is refused."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from pipeline.gradient_inversion.networks import PLANS
from pipeline.gradient_inversion.settings import GradientInversion


def test_defaults_are_the_intense_test():
    settings = GradientInversion()
    assert (settings.network.name, settings.images, settings.attacks) == ("lenet_a", 100, ("r_conv",))


def test_every_planned_network_can_be_named():
    for name in PLANS:
        GradientInversion.model_validate({"network": {"name": name}})


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"network": {"name": "resnet"}}, "lenet_a"),
        ({"network": {"train_steps": 150}}, "init: default"),
        ({"gradient": {"noise_multiplier": 1.0}}, "give clip_norm"),
        ({"attacks": ["r_conv", "magic"]}, "inverting_gradients"),
        ({"batch_size": 4, "attacks": ["dlg"]}, "r_conv alone"),
        ({"batch_size": 3}, "multiple of batch_size"),
        ({"pictures": 3}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(part, words):
    with pytest.raises(ValidationError, match=words):
        GradientInversion.model_validate(part)


def test_settings_load_without_torch():
    code = "import sys, pipeline.gradient_inversion.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
