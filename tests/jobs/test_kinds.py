"""Every kind of experiment goes from nothing to its report: other tasks, other data, other nulls."""

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from jobs.display import Display
from jobs.executors.inline import InlineExecutor
from jobs.run import carry_through, check, unfinished
from pipeline.data.settings import DataSet
from pipeline.data.sources import load as load_images
from pipeline.errors import Failure
from stages import stage_named
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
            "evaluation.nulls=[shards]",
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
    assert "noise multiplier σ = 1.82" in run(experiment)
    plan = Plan(experiment)
    stage = next(stage for stage in plan.stages if stage.name == "shadow_models")
    attributes = plan.finished(stage).attributes("train-00000")
    assert attributes["epsilon"] == pytest.approx(5, rel=0.015)
    assert attributes["delta"] == pytest.approx(10**-1.1)
    assert {"noise_multiplier", "clip_norm", "sample_rate", "steps"} <= attributes.keys()


def test_four_images_a_class_in_both_modes_judged_at_their_best(tiny):
    page = run(
        tiny(
            *FEW,
            "shadow_models.class_size=4",
            "reconstructor.modes=[conditional, unconditional]",
            "reconstructor.steps=18",
            "reconstructor.average=0.9",
            "evaluation.reconstructor=best",
        )
    )
    assert "10 victims with 10 reconstructions" in page
    assert "10 victims with 1 reconstructions" in page


def test_the_fast_recipe_for_a_gpu_runs_small_on_a_cpu(tiny):
    small = ("data.name=mnist_digits", "backbone.weights=models_pretrained/vgg_tiny_emnist_letters.pth")
    page = run(tiny(*FEW, *small, "reconstructor.compile=false", config="mnist_n10_fast"))
    assert "40 shadow models for the statistics, and a stream of others" in page


@pytest.fixture
def part_of(real_data, tmp_path):
    """The first images of a real data set in a file of the test's own: 400 to train on, 200 to be held out."""

    def cut(name: str) -> str:
        parts = {}
        for split, count in (("train", 400), ("test", 200)):
            source = load_images(DataSet(name=name), split, real_data)
            parts[f"{split}_images"] = source.read(np.arange(count)).movedim(1, 3)
            parts[f"{split}_labels"] = source.labels[:count]
        path = tmp_path / f"first_{name}.npz"
        np.savez(path, **parts)
        return f"{{name: npz, path: {path}, size: 32}}"

    return cut


def test_cifar10_with_a_perceptual_loss(tiny, part_of, tmp_path):
    from torchvision.models import alexnet

    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    perceptual = ("reconstructor.lpips=alex", f"reconstructor.lpips_weights={tmp_path}/alexnet.pth")
    assert "10 victims with 10 reconstructions" in run(tiny(*FEW, *perceptual, f"data={part_of('cifar10')}"))


def test_out_of_distribution_shadows_of_cifar100_against_victims_of_cifar10(tiny, part_of):
    data = (f"data={part_of('cifar10')}", f"shadow_models.data={part_of('cifar100_part')}")
    page = run(tiny(*FEW, *data, "shadow_models.source=stream"))
    assert "10 victims with 10 reconstructions" in page


def test_real_faces_by_identity_at_64_pixels(tiny, real_data, tmp_path):
    """AT&T's forty people: thirty to train on, ten held out."""
    faces = sorted((real_data / "att_faces").glob("s*"))
    if not faces:
        pytest.skip("RECON_DATA has no att_faces")
    for number, person in enumerate(faces):
        folder = tmp_path / "faces" / ("train" if number < 30 else "test")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / person.name).symlink_to(person)
    assert "10 victims with 1 reconstructions" in run(tiny(*FEW, *by_identity(tmp_path / "faces")))


def by_identity(faces) -> tuple[str, ...]:
    return (
        f"data={{name: folder, path: {faces}, size: 64}}",
        "task={kind: identity}",
        "shadow_models.training.classes=1",
        "shadow_models.training.hidden=4",
        "reconstructor.modes=[unconditional]",
        "evaluation.threshold=0.1217",
    )


def test_people_by_identity_at_64_pixels(tiny, tmp_path):
    rng = np.random.default_rng(0)
    for split, people in (("train", 8), ("test", 14)):
        for person in range(people):
            folder = tmp_path / "faces" / split / f"p{person}"
            folder.mkdir(parents=True)
            for photo in range(4):
                Image.fromarray(rng.integers(0, 256, (56, 46), dtype=np.uint8)).save(folder / f"{photo}.png")
    assert "10 victims with 1 reconstructions" in run(tiny(*FEW, *by_identity(tmp_path / "faces")))


def test_an_input_that_vanishes_while_the_run_goes_on_is_a_failure(tiny):
    """Later stages cannot be made then, and a run that leaves them undone does not end well."""
    experiment = tiny(*FEW)
    plan = Plan(experiment)

    class Watching(Display):
        def stage_ended(self, state):
            super().stage_ended(state)
            if state.stage.name == "weight_stats":
                plan.path(stage_named("shadow_models"), "watch-00001").unlink()

    gone = r"shadow_models/watch-00001 was removed or damaged while the run went on; `python -m jobs resume"
    with pytest.raises(Failure, match=gone), InlineExecutor() as executor:
        carry_through(plan, unfinished(plan, None), executor, "cpu", Watching(Console(quiet=True)))
