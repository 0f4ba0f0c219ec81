"""Pre-training: it learns, and going on from a checkpoint changes no bit."""

import numpy as np
import pytest
import torch

from pipeline.config import load
from pipeline.data.settings import DataSet
from pipeline.data.sources import ImageSource
from pipeline.networks import pretraining
from pipeline.networks.pretraining import accuracy, initial_classifier, pretrain
from pipeline.networks.settings import Augmentation, Phase, Pretrain


def bars(count: int) -> ImageSource:
    """Vertical bars at one of four places."""
    labels = np.arange(count) % 4
    images = torch.zeros(count, 1, 32, 32, dtype=torch.uint8)
    for k, label in enumerate(labels):
        images[k, :, :, 8 * label : 8 * label + 4] = 255
    return ImageSource(labels, lambda indices: images[indices])


SETTINGS = Pretrain(
    data=DataSet(name="mnist_digits"),
    phases=(
        Phase(train="all", epochs=4, learning_rate=3e-3, batch_size=16),
        Phase(train="head", epochs=2, learning_rate=1e-3, batch_size=16),
    ),
    dropout=0.1,
    augmentation=Augmentation(degrees=2),
)


def test_it_learns_and_the_same_seed_gives_the_same_weights_resumed_or_not():
    source = bars(128)
    straight = initial_classifier("vgg_tiny", SETTINGS, source)
    states = {}

    def keep(epoch, loss, state):
        parts = {name: {k: v.clone() for k, v in state[name].items()} for name in ("classifier",)}
        states[epoch] = {**parts, "optimizer": torch.load(_saved(state["optimizer"])), "losses": list(state["losses"])}

    losses = pretrain(straight, source, SETTINGS, resume=None, after_epoch=keep)
    assert accuracy(straight, bars(40)) > 0.9
    for epoch in (2, 4, 5):
        resumed = initial_classifier("vgg_tiny", SETTINGS, source)
        again = pretrain(resumed, source, SETTINGS, resume=states[epoch], after_epoch=lambda *_: None)
        assert again == losses
        for name, tensor in straight.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), (epoch, name)


@pytest.mark.parametrize(("config", "decay"), [("cifar10_n10", 1e-4), ("celeba_n10", 1e-6)])
def test_batch_normalisation_is_frozen_in_both_phases_and_the_second_has_no_weight_decay(monkeypatch, config, decay):
    """What each phase of the published settings would train, and how; not one step of it."""
    seen = []

    def looked_at(classifier, optimizer, *_):
        norms = [layer for layer in classifier.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        frozen = not any(id(parameter) in trained for layer in norms for parameter in layer.parameters())
        whole = any(id(parameter) in trained for parameter in classifier.body.parameters())
        seen.append((bool(norms) and frozen, whole, optimizer.param_groups[0]["weight_decay"]))
        return 1.0

    monkeypatch.setattr(pretraining, "train_epoch", looked_at)
    experiment = load(config)
    settings = experiment.pretrain.model_copy(update={"initial_weights": "random"})
    classifier = initial_classifier(experiment.backbone.name, settings, bars(4))
    pretrain(classifier, bars(4), settings, resume=None, after_epoch=lambda *_: None)
    assert set(seen) == {(True, False, decay), (True, True, 0.0)}
    assert seen == sorted(seen, key=lambda one: one[1])


def _saved(state):
    import io

    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream
