"""Training images as independent components of the first layer's row space: no loss, no multipliers, no optimizer.

Every direction of the row space is a mixture of the training images, less their mean (span.py). Differences of
neighbouring pixels of an image are mostly small and sometimes large; those of a mixture are nearer to the normal law.
So images are looked for as the combinations of directions whose differences are the least normal: independent
component analysis (Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis", 1999). The
mean that is taken off every input is known to whoever runs the network; with it as one more direction the images
themselves lie in the span. A mixture does not tell how strong its components are, nor their signs: each is brought to
pixels by its own range, once with either sign.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.kkt.analysis.scores import min_max_scaled
from pipeline.kkt.span import Span

STEEPNESS = 3.0
"""Of tanh(STEEPNESS · y), the score function of a law with heavy tails: near to the sign, which is Laplace's own."""

STEADY = 1e-5
"""The iteration ends when every component keeps its direction to within this, as 1 − |cosine|."""

OWN_SHARE = 1e-3
"""The mean is a direction of its own when so much of its length lies outside the span."""


@dataclass(frozen=True)
class Components:
    """`images` (2q, C, h, w), the mean taken off: q components with one sign, then all with the other.

    `support` (2q,): over the units of the first layer, the correlation between how much training added to a unit for
    the component and whether the component activates it; training adds to active units alone (ReLU), so it tells images
    from mixtures, and signs, without the training set. `normality`: the mean of |y| over all whitened differences y,
    which is √(2/π) = .80 for normal ones and less for images.
    """

    images: Tensor
    support: Tensor
    normality: float


def separate(
    span: Span, mean: Tensor, iterations: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Components:
    """From a random start, by a limited number of fixed-point steps. `mean` (C, h, w) is what is taken off every input.

    q = r or, with the mean, r + 1.
    """
    mean = mean.to(span.directions)
    directions = with_mean(span.directions, mean.flatten())
    seen = differences(directions.to(dtype).unflatten(1, mean.shape))
    values, vectors = torch.linalg.eigh((seen @ seen.T / seen.shape[1]).double())
    whitening = (vectors / values.sqrt()) @ vectors.T
    white = whitening.to(dtype) @ seen
    start = torch.randn(len(directions), len(directions), generator=generator, dtype=torch.float64)
    rotation = least_normal(white, start.to(seen), iterations)
    unmixing = rotation.double() @ whitening
    images = (unmixing @ directions).unflatten(1, mean.shape)
    images = torch.cat([min_max_scaled(images), min_max_scaled(-images)]) - mean
    normality = float((rotation @ white).abs().mean())
    return Components(images, support(span, images, unmixing[:, : len(span)]), normality)


def support(span: Span, images: Tensor, unmixing: Tensor) -> Tensor:
    """See Components. `unmixing` (q, r): the components as combinations of the span's directions.

    W₁ = C · unmixing · directions gives the coefficients of each in the units; of all such C the smallest.
    """
    by_unit = (span.weight @ span.directions.T @ torch.linalg.pinv(unmixing)).T.abs()
    active = (images.flatten(1) @ span.weight.T + span.bias > 0).double()
    by_unit, active = (part - part.mean(1, keepdim=True) for part in (by_unit.repeat(2, 1), active))
    norms = by_unit.norm(dim=1) * active.norm(dim=1)
    return (by_unit * active).sum(1) / torch.where(norms > 0, norms, 1)


def with_mean(directions: Tensor, mean: Tensor) -> Tensor:
    """Orthonormal directions (r, D), and that of the mean (D,) that is missing, if one is."""
    outside = mean - directions.T @ (directions @ mean)
    if outside.norm() <= OWN_SHARE * mean.norm():
        return directions
    return torch.cat([directions, (outside / outside.norm())[None]])


def differences(images: Tensor) -> Tensor:
    """(q, F): first and second differences of images (q, C, h, w) along rows and columns, and the mixed second ones."""
    across, down = images.diff(dim=-1), images.diff(dim=-2)
    parts = [across, down, across.diff(dim=-1), down.diff(dim=-2), across.diff(dim=-2)]
    return torch.cat([part.flatten(1) for part in parts], 1)


def least_normal(white: Tensor, start: Tensor, iterations: int) -> Tensor:
    """(q, q) orthogonal: its rows' products with `white` (q, F), of covariance 1, are as little normal as they get."""
    rotation, count = orthogonal(start), white.shape[1]
    for _ in range(iterations):
        score = torch.tanh(STEEPNESS * (rotation @ white))
        slope = STEEPNESS * (1 - score.square().mean(1))
        before, rotation = rotation, orthogonal(score @ white.T / count - slope[:, None] * rotation)
        if (1 - (rotation * before).sum(1).abs() < STEADY).all():
            break
    return rotation


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right
