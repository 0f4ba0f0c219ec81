"""Somebody's own training script: plain PyTorch, which knows nothing of this project but where its files lie.

Linear heads on a frozen network's features, each trained on ten of MNIST's digits, one of every class:

    python examples/my_head/train.py

writes, for ten sets of digits, private/<number>.npz (the ten images and their labels, in no order) and heads trained
on them: small/ (small random initial weights), default/ (as nn.Linear draws them) and known/ (the default ones of one
draw, saved as initial.pth, which every head of that folder starts from). For comparison, other/ holds heads with small
initial weights that were trained on ten other digits, and untrained/ heads that were not trained at all.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CHECKOUT = Path(__file__).resolve().parents[2]
DIGITS = CHECKOUT / "pipeline/data/mnist_digits.npz"
BACKBONE = CHECKOUT / "models_pretrained/vgg_tiny_emnist_letters.pth"
CLASSES, SETS = 10, 10
EPOCHS, LEARNING_RATE, WEIGHT_DECAY = 32, 0.01, 1e-5


class Backbone:
    """(n, 28, 28) bytes → (n, 256) features of a small VGG that was trained on letters."""

    def __init__(self):
        layers, channels = [], 1
        for block in ((4, 8), (16, 16, 32, 32), (32, 32)):
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        state = torch.load(BACKBONE, weights_only=True)
        for part, name in ((self.convolutions, "body.convolutions."), (self.linear, "body.linear.")):
            part.load_state_dict({key.removeprefix(name): state[key] for key in state if key.startswith(name)})

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> torch.Tensor:
        scaled = torch.as_tensor(images)[:, None].float()
        scaled = functional.interpolate(scaled, size=(32, 32), mode="bilinear", antialias=True)
        return self.linear(self.convolutions(scaled.round() / 127.5 - 1).flatten(1))


def new_head(small: bool, inputs: int = 256) -> nn.Linear:
    head = nn.Linear(inputs, CLASSES)
    if small:
        nn.init.normal_(head.weight, std=0.002)
        nn.init.zeros_(head.bias)
    return head


def train(head: nn.Linear, features: torch.Tensor, labels: torch.Tensor) -> nn.Linear:
    optimizer = torch.optim.SGD(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    return head


def save(head: nn.Linear, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(head.state_dict(), path)


def main(out: Path) -> None:
    with np.load(DIGITS) as file:
        images, labels = file["test_images"], file["test_labels"].astype(np.int64)
    torch.manual_seed(0)
    backbone = Backbone()
    chance = np.random.default_rng(0)
    by_class = [chance.permutation(np.flatnonzero(labels == digit)) for digit in range(CLASSES)]
    initial = new_head(small=False)
    save(initial, out / "initial.pth")
    for number in range(SETS):
        mine, others = (
            chance.permutation([places[column] for places in by_class]) for column in (number, SETS + number)
        )
        (out / "private").mkdir(parents=True, exist_ok=True)
        np.savez(out / f"private/{number}.npz", images=images[mine], labels=labels[mine])
        features, targets = backbone(images[mine]), torch.as_tensor(labels[mine])
        known = new_head(small=False)
        known.load_state_dict(initial.state_dict())
        for kind, head in (("small", new_head(small=True)), ("default", new_head(small=False)), ("known", known)):
            save(train(head, features, targets), out / f"{kind}/{number}.pth")
        other_features, other_targets = backbone(images[others]), torch.as_tensor(labels[others])
        save(train(new_head(small=True), other_features, other_targets), out / f"other/{number}.pth")
        save(new_head(small=True), out / f"untrained/{number}.pth")
    print(f"{SETS} sets of digits in {out / 'private'}, and heads in {out}/small, default, known, other, untrained")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "made", help="where to write")
    main(parser.parse_args().out)
