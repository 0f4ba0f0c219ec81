"""Real files of the published reconstructor attack (arXiv 2505.14323) against our deal, training and formats.

They lie beside the checkout, in ../shared/data/published, with a README that says what they are; tests are skipped
where they or the real MNIST are absent.
"""

import numpy as np
import pytest
import torch

from pipeline import ROOT
from pipeline.data.deal import deal
from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.networks.backbones import Classifier, extract_features, load_trained_weights
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard
from pipeline.statistics import moments_of

pytestmark = pytest.mark.published
FILES = ROOT.parent / "shared" / "data" / "published"
VGG_TINY = FILES / "VGGtiny_classifier_EMNIST_50EP.pth"
HEAD = Head(256, None, 10)


def published(name: str) -> np.ndarray:
    return np.load(FILES / name, allow_pickle=False)


@pytest.fixture(scope="module")
def mnist():
    """Split → features (n, 256) of the published VGG-tiny, and labels (n,)."""
    import os
    from pathlib import Path

    if not FILES.is_dir():
        pytest.skip(f"{FILES} is absent: no published files to hold results against")
    if not os.environ.get("RECON_DATA"):
        pytest.skip("RECON_DATA names no folder with real data sets")
    classifier = Classifier("vgg_tiny", classes=1)
    load_trained_weights(classifier, torch.load(VGG_TINY, map_location="cpu", weights_only=True), VGG_TINY.name)
    tables = {}
    for split in ("train", "test"):
        source = load(DataSet(name="mnist"), split, Path(os.environ["RECON_DATA"]))
        tables[split] = extract_features(classifier, source, lambda *_: None), source.labels
    return tables


def trained(table, class_size: int, models: int, seed: int, init_std: float = 0.002) -> torch.Tensor:
    """(models, 2570) heads of one permutation seed, by the published recipe."""
    features, labels = table
    indices = torch.as_tensor(deal(labels, class_size, models, seed)).long()
    terms = {"learning_rate": 0.01, "epochs": 26 + 6 * class_size, "weight_decay": 1e-5}
    training = Training(**terms, init_std=max(init_std, 1e-12))
    classes = torch.arange(10).repeat_interleave(class_size).expand(models, -1)
    initial = torch.zeros(models, HEAD.size) if init_std == 0 else None
    return train_shard(features, indices, classes, training, torch.Generator().manual_seed(seed), initial)


@pytest.mark.parametrize(("class_size", "models"), [(1, 5120), (4, 1280)])
def test_shadow_weights_have_the_published_statistics(mnist, class_size, models):
    """Twenty seeds: 102,400 models of N = 10, 25,600 of N = 40. Means to sampling error, deviations to 0.2 %."""
    moments = moments_of(trained(mnist["train"], class_size, models, seed) for seed in range(20))
    mean, deviation = (
        published(f"stats_{name}_MNIST_classifier_N{10 * class_size}.npy")[0] for name in ("mean", "std")
    )
    varies = deviation > 0
    ratio = moments.deviation.numpy()[varies] / deviation[varies]
    assert np.median(ratio) == pytest.approx(1, abs=0.002)
    z = (moments.mean.numpy() - mean)[varies] / (deviation[varies] / moments.count**0.5)
    assert np.sqrt(np.mean(z**2)) < 1.5


def test_the_published_victims_are_ours_up_to_their_initial_weights(mnist):
    """The 223 victims of N = 40, permutation seed 0, trained here from zero: what is left is N(0, 0.002²), shrunk."""
    victims = published("MNIST_classifier_N40_test_seed_0.npy")
    ours = trained(mnist["test"], 4, len(victims), 0, init_std=0)
    weight = HEAD.split(torch.as_tensor(victims) - ours)[0]
    assert weight.std().item() == pytest.approx(0.00196, abs=2e-5)
    another = trained(mnist["test"], 4, len(victims), 1, init_std=0)
    assert HEAD.split(torch.as_tensor(victims) - another)[0].std().item() > 0.003


def test_published_victims_are_imported_scored_and_reported(mnist, tiny):
    from rich.console import Console

    from jobs.display import Display
    from jobs.executors.inline import InlineExecutor
    from jobs.importing import import_shard
    from jobs.run import carry_through, unfinished
    from stages import stage_named
    from stages.plan import Plan

    experiment = tiny(
        "data.name=mnist",
        f"backbone.weights={VGG_TINY}",
        "shadow_models.class_size=4",
        "shadow_models.test_models=223",
        "shadow_models.training.epochs=50",
    )
    plan = Plan(experiment)
    import_shard(plan, "shadow_models/test-00000", [str(FILES / "MNIST_classifier_N40_test_seed_0.npy")], replace=False)
    plan = Plan(experiment)
    with InlineExecutor() as executor:
        carry_through(plan, unfinished(plan, None), executor, "cpu", Display(Console(quiet=True)))
    facts = plan.finished(stage_named("min_mse")).attributes("conditional")
    assert facts["accuracy_trained"] > 0.99  # the deal pairs each head with the images that it learnt
    page = (experiment.run_directory / "report" / "index.html").read_text()
    assert "MNIST_classifier_N40_test_seed_0.npy" in page
