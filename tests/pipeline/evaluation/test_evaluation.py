"""Thresholds and scores, against sums written out."""

import numpy as np
import pytest
import torch

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet, Task
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.evaluation.image_metrics import lpips, psnr_in_unit_range, ssim, ssim_in_unit_range
from pipeline.evaluation.min_mse import min_mse
from pipeline.evaluation.nearest_neighbour import nearest_same_class, threshold
from pipeline.evaluation.reading import WeightReader
from pipeline.evaluation.settings import Evaluation
from pipeline.evaluation.victims import VictimSet, accuracy
from pipeline.networks.reconstructor import Reconstructor
from pipeline.shadow.settings import Training
from pipeline.statistics import Standardisation


def quiet(*_):
    pass


def test_nearest_same_class_is_the_nearest_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    test, train = (torch.randint(0, 256, (n, 1, 6, 6), dtype=torch.uint8, generator=generator) for n in (40, 90))
    labels, others = np.arange(40) % 3, np.arange(90) % 3
    found = nearest_same_class(test, labels, train, others, quiet)
    for k in range(40):
        pool = train[torch.as_tensor(others == labels[k])].double()
        direct = ((pool - test[k].double()) / 127.5).square().mean((1, 2, 3)).min().item()
        assert found[k] == pytest.approx(direct, rel=1e-6)
    value, per_class = threshold(found, labels)
    assert value == pytest.approx(np.mean([found[labels == k].mean() for k in range(3)]))
    assert len(per_class) == 3


def test_a_class_without_training_images_is_named():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(UserError, match="class 1 has 1 test images and no training image"):
        nearest_same_class(images, np.array([0, 1]), images, np.array([0, 0]), quiet)


@pytest.mark.parametrize(("name", "published"), [("mnist", 0.0696), ("cifar10", 0.1284)])
def test_published_nearest_neighbour_thresholds(real_data, name, published):
    data = DataSet(name=name)
    train, test = (load(data, split, real_data) for split in ("train", "test"))
    distances = nearest_same_class(target_images(test, 32), test.labels, target_images(train, 32), train.labels, quiet)
    assert threshold(distances, test.labels)[0] == pytest.approx(published, abs=1e-4)


def shown(z, classes=0):
    """Standardised weights as a network reads them, for each class or once."""
    identity = Standardisation(
        torch.ones(z.shape[1], dtype=torch.bool), torch.zeros(z.shape[1]), torch.ones(z.shape[1])
    )
    return WeightReader(identity, max(classes, 1), conditional=classes > 0).read(z)


@pytest.mark.parametrize("classes", [0, 4])
def test_min_mse_is_the_distance_to_the_nearest_candidate(classes):
    torch.manual_seed(0)
    network = Reconstructor(5, 1, 16, 2, classes)
    images = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8)
    groups = torch.randint(0, 30, (70, max(classes, 1), 3))
    victims = VictimSet(shown(torch.randn(70, 5), classes), images, groups)
    scores = min_mse(network, victims)
    assert scores.rebuilt.shape == (70, max(classes, 1), 1, 16, 16)
    for v, g in ((0, 0), (69, max(classes, 1) - 1)):
        label = torch.tensor([g]) if classes else None
        with torch.no_grad():
            rebuilt = network(victims.reading.inputs[v : v + 1, g], label)
        errors = [(rebuilt[0] - (images[k].float() / 127.5 - 1)).square().mean().item() for k in groups[v, g]]
        assert scores.distances[v, g] == pytest.approx(min(errors), rel=1e-5)
        assert scores.nearest[v, g] == groups[v, g, int(np.argmin(errors))]


def test_scoring_also_tells_how_like_the_matched_image_is():
    torch.manual_seed(0)
    network = Reconstructor(5, 1, 16, 2)
    images = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8)
    victims = VictimSet(shown(torch.randn(7, 5)), images, torch.randint(0, 30, (7, 1, 3)))
    scores = min_mse(network, victims, {"psnr": psnr_in_unit_range, "ssim": ssim_in_unit_range})
    with torch.no_grad():
        rebuilt = network(victims.reading.inputs[:, 0])
    matched = images[scores.nearest[:, 0]].float() / 127.5 - 1
    assert scores.likeness["psnr"][:, 0] == pytest.approx(10 * np.log10(4 / scores.distances[:, 0]), rel=1e-5)
    expected = ssim((rebuilt + 1) / 2, (matched + 1) / 2)
    assert scores.likeness["ssim"][:, 0] == pytest.approx(expected.double().numpy(), abs=1e-6)


def test_lpips_is_absent_with_a_reason_where_its_weights_are(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for name, side, reason in (
        ("none", 32, "not asked for"),
        ("alex", 16, "32 pixels"),
        ("vgg", 32, "not in its cache"),
    ):
        metric, said = lpips(Evaluation(lpips=name), side, torch.device("cpu"))
        assert metric is None
        assert reason in said


def test_heads_are_judged_on_their_own_images_and_on_all_others():
    features, labels = torch.eye(3), np.array([0, 1, 2])
    training = Training(classes=3, learning_rate=0.1, epochs=1, init_std=0.1)
    always_one = torch.zeros(1, 12)
    always_one[0, 10] = 1.0  # the bias of class 1
    for own, trained, unseen in (([1], 1.0, 0.0), ([0], 0.0, 0.5), ([0, 2], 0.0, 1.0)):
        found = accuracy(always_one, features, labels, np.array([own]), Task(), training)
        assert found["trained"] == pytest.approx([trained])
        assert found["unseen"] == pytest.approx([unseen])
        assert found.keys() == {"trained", "unseen"}


def test_an_identitys_head_is_right_on_its_person_and_on_others_apart():
    """Five photos of three persons; the head says yes to photos 0, 1 and 3. It learnt of person 7 by photo 1."""
    labels, yes = np.array([7, 7, 7, 2, 5]), torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0])
    training = Training(classes=1, learning_rate=0.1, epochs=1, init_std=0.1)
    head = torch.cat([yes, torch.zeros(1)])[None]
    found = accuracy(head, torch.eye(5), labels, np.array([[1, 3, 3]]), Task(kind="identity"), training)
    assert {name: shares.tolist() for name, shares in found.items()} == {
        "trained": [0.5],  # photo 3, drawn twice, is one wrong answer
        "trained_true_positive": [1.0],
        "trained_true_negative": [0.0],
        "unseen": [pytest.approx(2 / 3)],
        "unseen_true_positive": [0.5],
        "unseen_true_negative": [1.0],
    }
    binary = accuracy(head, torch.eye(5), labels, np.array([[1, 3]]), Task(kind="binary", positive=(2,)), training)
    assert binary["unseen"] == pytest.approx([2 / 3])
    assert binary["trained_true_positive"].tolist() == [1.0]


def test_weights_of_lpips_that_are_not_theirs_are_one_line(tmp_path):
    path = tmp_path / "alex.pth"
    path.write_bytes(b"junk")
    judged = Evaluation(lpips="alex", lpips_weights=str(path))
    with pytest.raises(UserError, match=r"evaluation.lpips_weights=.*alex.pth: the ImageNet weights of alex are not"):
        lpips(judged, 32, torch.device("cpu"))
