"""Every kind of experiment goes from nothing to its report: other tasks, other data, other nulls."""

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jobs.display import Display
from jobs.inline import InlineExecutor
from jobs.run import carry_through, check, unfinished
from stages.plan import Plan

FEW = ("shadow_models.seeds=2", "shadow_models.models_per_seed=20", "shadow_models.test_models=10")


def run(experiment) -> str:
    """The text of its report."""
    plan = Plan(experiment)
    check(plan, unfinished(plan, None))
    with InlineExecutor() as executor:
        carry_through(plan, unfinished(plan, None), executor, "cpu", Display(Console(quiet=True)))
    return (experiment.run_directory / "report" / "index.html").read_text()


def test_a_users_own_images_in_both_modes_with_matrix_free_nulls(tiny, npz_file):
    page = run(
        tiny(
            *FEW,
            f"data={{name: npz, path: {npz_file}, size: 32}}",
            "shadow_models.training.classes=3",
            "reconstructor.modes=[conditional, unconditional]",
            "evaluation.null_weights=shards",
        )
    )
    assert "Reconstruction, conditional" in page
    assert "Reconstruction, unconditional" in page


def test_binary_heads(tiny):
    binary = ("task={kind: binary, positive: [1, 3, 5, 7, 9]}", "shadow_models.training.classes=1")
    assert "10 reconstructions" in run(tiny(*FEW, *binary, "shadow_models.training.hidden=8"))


def test_private_heads_carry_their_guarantee(tiny):
    private = "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 64, noise_multiplier: 1.82}"
    experiment = tiny(*FEW, "shadow_models.training.epochs=null", private)
    assert "noise multiplier 1.82" in run(experiment)
    plan = Plan(experiment)
    stage = next(stage for stage in plan.stages if stage.name == "shadow_models")
    attributes = plan.finished(stage).attributes("train-00000")
    assert attributes["epsilon"] == pytest.approx(5, rel=0.015)
    assert attributes["delta"] == pytest.approx(10**-1.1)
    assert {"noise_multiplier", "clip_norm", "sample_rate", "steps"} <= attributes.keys()


def test_people_by_identity_at_64_pixels(tiny, tmp_path):
    rng = np.random.default_rng(0)
    for split, people in (("train", 8), ("test", 5)):
        for person in range(people):
            folder = tmp_path / "faces" / split / f"p{person}"
            folder.mkdir(parents=True)
            for photo in range(4):
                Image.fromarray(rng.integers(0, 256, (56, 46), dtype=np.uint8)).save(folder / f"{photo}.png")
    page = run(
        tiny(
            *FEW,
            f"data={{name: folder, path: {tmp_path}/faces, size: 64}}",
            "task={kind: identity}",
            "shadow_models.training.classes=1",
            "shadow_models.training.hidden=4",
            "reconstructor.modes=[unconditional]",
            "evaluation.threshold=0.1217",
        )
    )
    assert "10 victims with 1 reconstructions" in page
