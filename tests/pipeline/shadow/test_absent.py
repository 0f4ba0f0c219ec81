"""Heads that are trained without one record of their set."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard

TERMS = {"learning_rate": 0.05, "weight_decay": 1e-3, "init_std": 0.01, "classes": 3}
CLIP = 1.5


@pytest.fixture
def world():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 5, generator=generator)
    indices = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    labels = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 1]])
    initial = 0.01 * torch.randn(2, Head(5, None, 3).size, generator=generator)
    return features, indices, labels, initial, torch.tensor([2, 0])


def test_training_without_a_record_is_training_on_the_others(world):
    features, indices, labels, initial, absent = world
    training = Training(**TERMS, epochs=20)
    found = train_shard(features, indices, labels, training, torch.Generator(), initial, absent=absent)
    others = torch.tensor([[0, 1, 3], [5, 6, 7]])
    own_labels = torch.tensor([[0, 1, 0], [1, 0, 1]])
    assert torch.equal(found, train_shard(features, others, own_labels, training, torch.Generator(), initial))


def test_private_training_without_a_record_keeps_the_divisor(world):
    """q = 1 and no noise to speak of: descent on the clipped gradients of the others, over N and not N − 1."""
    features, indices, labels, initial, absent = world
    private = {"clip_norm": CLIP, "sample_rate": 1.0, "steps": 6, "noise_multiplier": 1e-9}
    training = Training(**TERMS, private=private)
    found = train_shard(features, indices, labels, training, torch.Generator().manual_seed(1), initial, absent=absent)
    for model in range(2):
        head = torch.cat([part[model].reshape(3, -1) for part in Head(5, None, 3).split(initial.clone())], 1)
        for _ in range(6):
            gradient = torch.zeros_like(head)
            for place in range(4):
                if place == absent[model]:
                    continue
                sample = torch.cat([features[indices[model, place]], torch.ones(1)])
                slope = (head @ sample).softmax(0)
                slope[labels[model, place]] -= 1
                own = slope[:, None] * sample
                gradient += own * min(1.0, CLIP / own.norm().item())
            head = head * (1 - 0.05 * 1e-3) - 0.05 / 4 * gradient
        weight, bias = (part[model] for part in Head(5, None, 3).split(found))
        assert torch.cat([weight, bias[:, None]], 1) == pytest.approx(head, abs=1e-6)


def test_opacus_trains_no_neighbours(world):
    features, indices, labels, initial, absent = world
    private = {"clip_norm": CLIP, "sample_rate": 1.0, "steps": 1, "noise_multiplier": 1.0}
    training = Training(**TERMS, private=private, engine="opacus")
    with pytest.raises(UserError, match="opacus trains no neighbours"):
        train_shard(features, indices, labels, training, torch.Generator(), initial, absent=absent)
