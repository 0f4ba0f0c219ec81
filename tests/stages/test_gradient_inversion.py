"""Gradient inversion as a stage: from embedded digits to certified images and their chapter of the report."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline import ROOT
from pipeline.config import load
from pipeline.errors import UserError
from pipeline.store import read_arrays
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan


@pytest.fixture
def plan(tmp_path):
    def make(*overrides: str) -> Plan:
        small = ["gradient_inversion.images=2", "gradient_inversion.images_per_shard=2"]
        return Plan(load("gradient_inversion_demo", [*small, f"paths.runs={tmp_path}", *overrides]))

    return make


def made(plan, stage, shard):
    make_shard(plan, stage_named(stage), shard, "cpu", lambda *_: None)
    return read_arrays(plan.path(stage_named(stage), shard))


def test_images_are_rebuilt_and_certified_and_reported(plan):
    exact = plan("gradient_inversion.attacks=[r_conv]")
    rows = made(exact, "gradient_inversion", "r_conv-00000")
    assert rows["success"].all()
    assert rows["mse"].max() < 1e-20
    assert np.abs(rows["original"] - rows["estimate"]).max() < 1e-6
    made(exact, "report", "report")
    page = (exact.experiment.run_directory / "report" / "index.html").read_text()
    assert "2 (100 %) of 2 images certified" in page
    table = (exact.experiment.run_directory / "report" / "r_conv.csv").read_text()
    assert table.splitlines()[0] == "image,mse,psnr,ssim,lpips,residual,tolerance,success"


def test_what_cannot_be_inverted_is_refused_not_shown(plan):
    rounded = plan(
        "gradient_inversion.attacks=[r_conv]", "gradient_inversion.network={name: lenet_o, filters: [3,3,3,3]}"
    )
    rows = made(rounded, "gradient_inversion", "r_conv-00000")
    assert not rows["success"].any()


def test_attacks_see_the_same_noise(plan):
    noisy = "gradient_inversion.gradient={dtype: float64, clip_norm: 1.0, noise_multiplier: 1e-9}"
    both = plan("gradient_inversion.attacks=[r_conv, r_gap]", noisy)
    first, second = (made(both, "gradient_inversion", f"{attack}-00000") for attack in ("r_conv", "r_gap"))
    assert np.array_equal(first["original"], second["original"])
    assert np.array_equal(first["tolerance"], second["tolerance"])


def test_more_images_than_there_are_is_refused_before_work_starts(plan):
    many = plan("gradient_inversion.images=9000", "gradient_inversion.images_per_shard=100")
    with pytest.raises(UserError, match=r"images: there is no image 8999; mnist_digits has 0 … 7999"):
        stage_named("gradient_inversion").check(many.experiment)


def test_one_image_by_its_index_is_one_key(plan):
    whole, one = (
        plan("gradient_inversion.attacks=[r_conv]"),
        plan("gradient_inversion.attacks=[r_conv]", "gradient_inversion.images=[1]"),
    )
    stage = stage_named("gradient_inversion")
    assert stage.shards(one.experiment) == ["r_conv-00001"]
    first, second = made(whole, "gradient_inversion", "r_conv-00000"), made(one, "gradient_inversion", "r_conv-00001")
    assert second["image"].tolist() == [1]
    assert np.array_equal(second["original"][0], first["original"][1])
    assert np.allclose(second["estimate"][0], first["estimate"][1], atol=1e-6)
    made(one, "report", "report")
    assert (one.experiment.run_directory / "report" / "r_conv.csv").read_text().splitlines()[1].startswith("1,")
    part = plan("gradient_inversion.images={start: 3, stop: 6}", "gradient_inversion.attacks=[r_conv]")
    assert stage.shards(part.experiment) == ["r_conv-00003", "r_conv-00005"]


def test_an_attacks_settings_change_its_shards_alone(plan):
    stage = stage_named("gradient_inversion")
    both = "gradient_inversion.attacks=[r_conv, dlg]"
    before, after = (one.fingerprints(stage) for one in (plan(both), plan(both, "gradient_inversion.dlg.rate=0.5")))
    assert before["r_conv-00000"] == after["r_conv-00000"]
    assert before["dlg-00000"] != after["dlg-00000"]


def test_the_report_comes_before_any_attack():
    command = [sys.executable, "-m", "stages.gradient_inversion", "gradient_inversion_demo", "--report"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("layer")
    assert done.stdout.strip().endswith("recoverable")
