"""CelebA's rule: train again from a new initialisation until the final loss is low."""

import pytest
import torch

from pipeline.errors import Failure
from pipeline.shadow.heads import Head, forward
from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_heads, train_shard

TERMS = {
    "classes": 1,
    "hidden": 2,
    "learning_rate": 0.2,
    "epochs": 60,
    "init_std": 0.05,
    "positive_weight": 10.0,
}


def sets(models: int):
    features = torch.randn(models, 10, 32, generator=torch.Generator().manual_seed(0)).relu_()
    return features, (torch.arange(10) == 9).long().expand(models, -1)


def final_losses(weights, features, labels):
    targets = Targets.of(labels, 1, 10.0, torch.float32)
    return targets.mean_loss(forward(Head(32, 2, 1).split(weights), features))


def test_only_the_unfinished_go_on_and_all_end_low():
    features, labels = sets(60)
    once = train_heads(features, labels, Training(**TERMS), torch.Generator().manual_seed(1))
    training = Training(**TERMS, restart={"loss_below": 0.05})
    weights = train_heads(features, labels, training, torch.Generator().manual_seed(1))
    low = final_losses(once, features, labels) < 0.05
    assert 0 < low.sum() < 60
    assert torch.equal(weights[low], once[low])
    assert (final_losses(weights, features, labels) < 0.05).all()


def test_the_loss_is_torchs():
    features, labels = sets(1)
    training = Training(**TERMS)
    weights = train_heads(features, labels, training, torch.Generator().manual_seed(2))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        forward(Head(32, 2, 1).split(weights), features)[0, 0], labels[0].float(), pos_weight=torch.tensor(10.0)
    )
    assert final_losses(weights, features, labels)[0] == pytest.approx(expected.item(), rel=1e-5)


def test_a_loss_that_never_falls_names_the_model():
    features, labels = sets(4)
    features[2] = 0  # nothing tells its ten images apart
    training = Training(**TERMS, restart={"loss_below": 0.5, "attempts": 3})
    with pytest.raises(Failure, match=r"^model 2: its loss is not below 0.5 after 3 attempts; raise"):
        train_heads(features, labels, training, torch.Generator().manual_seed(0))


def test_the_model_is_numbered_within_its_shard_not_its_block(monkeypatch):
    monkeypatch.setattr("pipeline.shadow.train.BLOCK_NUMBERS", {"cpu": 1})
    features, labels = sets(6)
    features[4] = 0
    training = Training(**TERMS, restart={"loss_below": 0.5})
    indices = torch.arange(60).view(6, 10)
    with pytest.raises(Failure, match=r"^model 4:"):
        train_shard(features.view(60, 32), indices, labels, training, torch.Generator().manual_seed(0))


def test_a_training_that_diverges_names_the_model():
    features, labels = sets(3)
    features[2] *= 1e30
    with pytest.raises(Failure, match=r"^model 2: training diverged; lower learning_rate"):
        train_heads(features, labels, Training(**TERMS), torch.Generator().manual_seed(0))
