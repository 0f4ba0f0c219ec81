"""What SSIM above 0.4 counts for candidates that know nothing: the published problems, on real images."""

import pytest
import torch

from pipeline.data.settings import DataSet
from pipeline.data.sources import load
from pipeline.kkt.analysis import nulls
from pipeline.kkt.analysis.match import Matching, match
from pipeline.kkt.analysis.settings import AnalysisSettings
from pipeline.kkt.networks import Victim
from pipeline.kkt.problems import load_problem, unlearnt
from pipeline.kkt.settings import NetworkSettings, ProblemSettings

PUBLISHED = {
    "mnist": (DataSet(name="mnist", size=28), "odd_even", 84, 500, 0.98),
    "cifar10": (DataSet(name="cifar10"), "vehicles_animals", 7, 42, 0.9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_mean_and_held_out_images_score_hits_that_no_attack_made(real_data, name):
    """Of 500 images, by the mean image and by 2,000 test images; none of these reaches the stricter correlation."""
    data, labels, by_mean, by_held_out, strict = PUBLISHED[name]
    problem = load_problem(ProblemSettings(labels=labels, images_per_class=250), data, real_data, 0)
    images, mean = problem.images.float(), problem.mean.float()
    how = Matching.of(AnalysisSettings(), mean)
    assert (match(images, nulls.mean_image(images, how.mean), how).scores["ssim"] > 0.4).sum() == by_mean
    scores = match(images, problem.held_out_images[:2000].float() - mean, how).scores
    assert (scores["ssim"] > 0.4).sum() == by_held_out
    assert not (scores["correlation"] > strict).any()


def test_unlearnt_images_are_the_rest_of_the_split_with_their_classes():
    settings, data = ProblemSettings(labels="odd_even", images_per_class=20), DataSet(name="mnist_digits", size=28)
    problem = load_problem(settings, data, None, 0)
    rest = unlearnt(problem, settings, data, None)
    assert len(rest.labels) == 8000 - 40
    everything = torch.cat([problem.images.float(), rest.read(torch.arange(7960))])
    source = load(data, "train", None)
    assert everything.double().sum() == pytest.approx(float(source.read(range(8000)).double().sum() / 255), rel=1e-6)
    assert torch.cat([problem.labels, rest.labels]).sum() == int((source.labels % 2).sum())
    assert not (rest.read(torch.arange(300))[:, None] == problem.images[None].float()).flatten(2).all(2).any()


def test_null_images_are_equally_many_of_each_class():
    images, labels = torch.arange(10.0).view(10, 1, 1, 1), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    assert nulls.of_all_classes(images, labels, 4).flatten().tolist() == [0, 1, 6, 7]
    assert len(nulls.of_all_classes(images, labels, 20)) == 10


def test_noise_has_the_candidates_own_deviation():
    candidates = 3 * torch.randn(50, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    drawn = nulls.noise(candidates, torch.Generator().manual_seed(1))
    assert float(drawn.std()) == pytest.approx(float(candidates.std()), rel=0.02)
    assert abs(float(drawn.mean())) < 0.1


def test_first_layer_weights_are_images_of_fully_connected_victims_only():
    flat = Victim(NetworkSettings(hidden=(6,)), (3, 4, 4), 1)
    assert torch.equal(nulls.first_layer_weights(flat)[2].flatten(), flat.layers[0].weight[2])
    convolutional = Victim(NetworkSettings(hidden=(6,), convolutions=({"channels": 2},)), (3, 4, 4), 1)
    assert nulls.first_layer_weights(convolutional) is None
