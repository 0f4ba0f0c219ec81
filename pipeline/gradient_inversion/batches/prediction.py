"""What share of a batch to expect, from the network and images of the kind, before any gradient is seen.

Batches of the images at hand are rehearsed: their δ are computed, and what the attack needs of them is looked at.
"""

from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from pipeline.gradient_inversion.batches.mixture import HiddenLayer
from pipeline.gradient_inversion.batches.network import last_hidden
from pipeline.gradient_inversion.batches.polish import null_vectors
from pipeline.gradient_inversion.layers import Chain
from pipeline.randomness import torch_generator

WEIGHTS = {"one": -0.56, "silent": 4.02, "alike": 8.17, "size": -2.39}
"""Logistic regression of "the search succeeds": see benchmarks/gradient_batches_prediction.py."""
REHEARSALS = 3
WHOLE = 0.85
"""Share told from which on a whole batch is within reach, as networks with further hidden layers need it."""
TOLD = 0.02
"""Second least singular value of the span of the δ on an image's silent units, from which on they fix its own δ."""


@dataclass(frozen=True)
class Expectation:
    """What share of a batch's images to expect. If the search succeeds: every image whose δ is fixed; else those alone
    that peeling finds.

    Numbers are means over rehearsed batches.
    """

    chance: float
    """That the search succeeds."""
    silent: float
    """Units that an image leaves silent and others of the batch fire, for each image of the batch."""
    spare: float
    """Units that an image fires beyond the number of classes."""
    alike: float
    """Cosine of δ and the mean error's, of the image at the lower decile: how well the search's start knows it."""
    peeled: float
    """Share of the images with a unit that no other one fires, or none but images found so."""
    told: float
    """Share of the images whose silent units fix their δ."""
    sure: float
    """Median of the largest class probability."""
    deeper: bool
    """Whether other fully connected layers come before, through which only whole batches are carried."""
    missing: float
    """Share of the batch that can be missing while the images found are still solved for: K − 2 images."""

    @property
    def share(self) -> float:
        """The share of images to expect."""
        return self.most if self.chance > 0.5 else self.least

    @property
    def least(self) -> float:
        """The share without the search."""
        return float(self.peeled > 0.99) if self.deeper else self.peeled

    @property
    def most(self) -> float:
        """The share if the search succeeds."""
        if self.deeper:
            return float(max(self.told, self.peeled) > WHOLE)
        return max(self.peeled, self.told) if 1 - self.told <= self.missing else self.peeled

    def __str__(self) -> str:
        reasons = [
            f"{self.silent:.1f} silent units that others fire for each image",
            f"fixing the δ of {100 * self.told:.0f} %",
            f"{self.spare:.0f} firing units beyond the classes",
        ]
        if self.spare < 1:
            reasons.append("with as many classes as firing units any δ is possible")
        if self.sure > 0.9:
            reasons.append(f"the network is sure ({self.sure:.2f}), so that δ nearly vanishes")
        return (
            f"expected: {100 * self.share:.0f} % of the images (peeling {100 * self.least:.0f} %, then the search "
            f"{100 * self.most:.0f} % with chance {self.chance:.2f}; "
            f"{'; '.join(reasons)})"
        )


@torch.no_grad()
def expect(network: Chain, images: Tensor, labels: Tensor, batch_size: int) -> Expectation:
    """From images (M, C, H, W) of the kind and labels (M,), M ≥ B; the network has a hidden layer, of ReLUs."""
    layer, inputs = last_hidden(network), _inputs(network, images)
    labels = labels % layer.classes
    generator = torch_generator("rehearsal", batch_size)
    draws = [torch.randperm(len(inputs), generator=generator)[:batch_size] for _ in range(REHEARSALS)]
    means = torch.tensor([_rehearsed(layer, inputs[draw], labels[draw]) for draw in draws]).double().mean(0)
    silent, spare, alike, peeled, told = means.tolist()
    score = sum(WEIGHTS[name] * value for name, value in terms(silent, alike, batch_size).items())
    sure = float(layer.forward(inputs)[1].amax(1).median())
    missing, deeper = max(0, layer.classes - 2) / batch_size, len(network.head) > 2
    return Expectation(1 / (1 + exp(-score)), silent, spare, alike, peeled, told, sure, deeper, missing)


def terms(silent: float, alike: float, batch_size: int) -> dict[str, float]:
    """What the logistic regression weighs; see `Expectation`."""
    return {"one": 1.0, "silent": log(max(silent, 0.05)), "alike": alike, "size": log(batch_size)}


def _inputs(network: Chain, images: Tensor) -> Tensor:
    """(M, D) inputs of the last hidden layer."""
    inputs: list[Tensor] = []
    hook = network.module.get_submodule(network.head[-2].name).register_forward_hook(
        lambda _, given, __: inputs.append(given[0])
    )
    try:
        network.module(images)
    finally:
        hook.remove()
    return inputs[0]


def _rehearsed(layer: HiddenLayer, inputs: Tensor, labels: Tensor) -> tuple[float, float, float, float, float]:
    """silent, spare, alike, peeled and told of one batch; see `Expectation`."""
    fires, probabilities = layer.forward(inputs)
    deltas = layer.deltas(inputs, labels)
    others = ~fires & fires.any(0)
    onehot = torch.nn.functional.one_hot(labels, layer.classes)
    guess = fires * ((probabilities.mean(0) - onehot) @ layer.readout)
    alike = cosine_similarity(guess, deltas, dim=1).quantile(0.1)
    left = torch.linalg.svd(normalize(deltas, dim=1).T, full_matrices=False)[0]
    usable = fires.sum(1) > layer.classes
    told = usable & (null_vectors(left, ~fires)[1] > TOLD)
    silent = others.sum(1).double().mean() / len(inputs)
    spare = fires.sum(1).double().median() - layer.classes
    return float(silent), float(spare), float(alike), _peeled(fires, usable), float(told.double().mean())


def _peeled(fires: Tensor, usable: Tensor) -> float:
    """Share of the images (B, n) that come off one by one by units which none of those left fires too."""
    left = torch.ones_like(usable)
    while True:
        alone = (fires & left[:, None]).sum(0) == 1
        off = left & usable & (fires & alone).any(1)
        if not off.any():
            return float(1 - left.double().mean())
        left = left & ~off
