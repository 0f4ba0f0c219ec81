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


def test_images_are_a_number_a_list_or_a_range():
    chosen = [GradientInversion(images=images).chosen for images in (3, [92], {"start": 5, "stop": 8})]
    assert [list(one) for one in chosen] == [[0, 1, 2], [92], [5, 6, 7]]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"network": {"name": "resnet"}}, "lenet_a"),
        ({"network": {"train_steps": 150}}, "init: default"),
        ({"gradient": {"noise_multiplier": 1.0}}, "give clip_norm"),
        ({"attacks": ["r_conv", "magic"]}, "inverting_gradients"),
        ({"batch_size": 4, "attacks": ["dlg"]}, "r_conv alone"),
        ({"batch_size": 3}, "multiple of batch_size"),
        ({"images": [3, 5, 3]}, "none twice"),
        ({"images": []}, "at least one"),
        ({"images": [-1]}, "indices from 0 on"),
        ({"images": {"start": 7, "stop": 7}}, "start < stop"),
        ({"images": [4], "batch_size": 2, "images_per_shard": 2}, "images must be a multiple of batch_size"),
        ({"dlg": {"steps": 3}}, "Extra inputs"),
        ({"pictures": 3}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(part, words):
    with pytest.raises(ValidationError, match=words):
        GradientInversion.model_validate(part)


def test_settings_load_without_torch():
    code = "import sys, pipeline.gradient_inversion.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
