"""Whether a head is what the recipe makes of the private images; if it is not, which part of the recipe is likely off.

Full-batch descent leaves first-layer weights W' = α W'_0 + C X', with a row of X' for each image, its features and a 1.
Outside the span of X' only the initial weights are seen, inside it what training has added. So heads are described by

    outside  the size of the weights outside the span of X': the law of the initial weights
    rank     how much of that is one direction: large where the head was trained on other images or other features
    length   of C, mean and median size of its numbers: learning rate and length of training
    pattern  how far C is from the mean C of retrained heads: everything about training, and which images

all as logarithms but for the rank, and the head's are held against those of heads retrained by the recipe on the same
images, by a Gaussian fitted to these. What stands apart is then tried with one key of the recipe changed at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training

DESCRIBED = ("outside", "rank", "length", "mean", "median", "pattern")
FARTHEST = 7.0
"""Mahalanobis distance from retrained heads: of six Gaussian numbers one in a hundred million heads is that far."""
LIKELIER = 8.0
"""Nats by which another recipe must explain a head better before it is believed: where the recipe is right, one that
is wrong does so in at most exp(-8) of heads, with two dozen recipes tried in less than 1 %."""
ROUNDING = 1e-3
"""Retrained heads that hardly vary (known initial weights) may differ by this share from another program's."""
FACTORS = {"learning_rate": (0.03, 0.1, 0.3, 0.5, 2.0, 3.0, 10.0, 30.0), "epochs": (0.1, 0.25, 0.5, 2.0, 4.0, 10.0)}
LAWS = ({"initial": "pytorch_default", "init_std": None}, {"initial": "zero", "init_std": None})
OTHERS = ({"momentum": 0.9}, {"weight_decay": 0.0}, {"weight_decay": 1e-4}, {"weight_decay": 1e-2})


@dataclass(frozen=True)
class Fit:
    """How a head stands to heads retrained on its images: deviations (6,) in the order of DESCRIBED, their joint
    Mahalanobis distance, and the negative log-density, in nats; and the size of a weight outside the images' span."""

    deviations: np.ndarray
    distance: float
    surprise: float
    weight_outside: float

    @property
    def near(self) -> bool:
        return self.distance <= FARTHEST


def compare(head: Head, weights: Tensor, retrained: Tensor, start: Tensor, features: Tensor) -> Fit:
    """weights (P,) of the head under audit; those of retrained heads (M, P), M of at least 20; start (P,): what known
    initial weights have left in them, else 0; features (N, D) of the private images."""
    basis, images = _span(features)
    theirs, mine = (_Parts.of(head, table - start, basis, images) for table in (retrained, weights[None]))
    centre = theirs.coefficients.mean(0)
    # each retrained head has pulled the centre towards itself
    others = theirs.described(centre, len(retrained) / (len(retrained) - 1))
    found = (mine.described(centre, 1.0) - others.mean(0))[0]
    covariance = np.cov(others.T) + ROUNDING**2 * np.eye(len(DESCRIBED))
    distance = float(found @ np.linalg.solve(covariance, found)) ** 0.5
    numbers = head.outputs * (head.inputs + 1 - len(basis))
    return Fit(
        deviations=found / np.sqrt(np.diag(covariance)),
        distance=distance,
        surprise=(distance**2 + float(np.linalg.slogdet(covariance)[1])) / 2,
        weight_outside=float(mine.outside.norm()) / max(1, numbers) ** 0.5,
    )


def _span(features: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis (N, D + 1) of the images' span, and the images (N, N) in it."""
    extended = torch.cat([features, torch.ones_like(features[:, :1])], 1).double()
    _, values, directions = torch.linalg.svd(extended, full_matrices=False)
    basis = directions[values > 1e-9 * values[0]]
    return basis, extended @ basis.mT


@dataclass(frozen=True)
class _Parts:
    """Of M heads: coefficients C (M, K, N), singular values (M, K) of what lies outside the span, and the length (M,)
    of what lies inside."""

    coefficients: Tensor
    outside: Tensor
    length: Tensor

    @classmethod
    def of(cls, head: Head, weights: Tensor, basis: Tensor, images: Tensor) -> "_Parts":
        weight, bias = head.split(weights.double())
        extended = torch.cat([weight, bias[:, :, None]], 2)
        inside = extended @ basis.mT
        outside = torch.linalg.svdvals(extended - inside @ basis)
        return cls(inside @ torch.linalg.pinv(images), outside, inside.flatten(1).norm(dim=1))

    def described(self, centre: Tensor, pulled: float) -> np.ndarray:
        """(M, 6) in the order of DESCRIBED."""
        outside = self.outside.norm(dim=1) + ROUNDING * self.length  # rounding alone has no size and no rank
        numbers = self.coefficients.flatten(1)
        pattern = pulled * (numbers - centre.flatten()).norm(dim=1) + ROUNDING * centre.norm()
        sizes = (numbers.norm(dim=1), numbers.abs().mean(1), numbers.abs().median(1).values, pattern)
        logs = [size.clamp(min=1e-30).log() for size in (outside, *sizes)]
        return torch.stack([logs[0], self.outside[:, 0] / outside, *logs[1:]], 1).numpy()


@dataclass(frozen=True)
class Suspicion:
    """A recipe with which the head would fit better: what is changed in it, in words, and how it then stands."""

    change: str
    fit: Fit


def suspect(training: Training, told: Fit, retrained: Callable[[Training], Fit | None]) -> Suspicion | None:
    """The recipe, with one key changed, that explains the head best; none where the one that was told does about as
    well, or where no such recipe explains it.

    `retrained`: how the head stands to heads of another recipe; None for one that cannot be trained.
    """
    variants = ((change, retrained(other)) for change, other in _variants(training, told.weight_outside))
    found = [Suspicion(change, fit) for change, fit in variants if fit is not None and fit.near]
    least = min((one.fit.surprise for one in found), default=np.inf)
    if told.near and least > told.surprise - LIKELIER:
        return None
    # of those that do about as well the first: a law that people use before a deviation that fits by itself
    return next((one for one in found if one.fit.surprise <= least + LIKELIER), None)


def _variants(training: Training, weight_outside: float) -> Iterator[tuple[str, Training]]:
    for change in _changes(training, weight_outside):
        given = training.model_dump() | change
        if "initial" in change:
            given["initial_weights"] = None
        shown = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in change.items()}
        words = ", ".join(f"{key}: {value}" for key, value in shown.items() if value is not None)
        yield words, Training.model_validate(given)


def _changes(training: Training, weight_outside: float) -> Iterator[dict]:
    yield from ({"learning_rate": training.learning_rate * factor} for factor in FACTORS["learning_rate"])
    if training.epochs:
        lengths = {max(1, round(training.epochs * factor)) for factor in FACTORS["epochs"]} - {training.epochs}
        yield from ({"epochs": length} for length in sorted(lengths))
    yield from (law for law in LAWS if training.initial_weights or law["initial"] != training.initial)
    if weight_outside > 0:  # of which training has left all but a little weight decay
        yield {"initial": "normal", "init_std": weight_outside}
    yield from (change for change in OTHERS if any(getattr(training, key) != value for key, value in change.items()))
