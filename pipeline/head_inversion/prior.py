"""What the adversary expects of a training image's features before seeing the head: a Gaussian for each class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import UserError

FLOOR = 0.004
"""Directions with less than this share of the total variance are not whitened further: they would be all noise."""


@dataclass(frozen=True)
class Prior:
    """Features of class g ~ N(μ_g, U diag(s) Uᵀ), with one within-class covariance for all classes.

    means (G, d) and spectrum s (d,) in the coordinates of the directions U (D, d); share of the within-class variance
    that these hold. What lies outside U is taken for μ_g.
    """

    directions: Tensor
    means: Tensor
    spectrum: Tensor
    share: float

    @classmethod
    def of(cls, features: Tensor, classes: Tensor, variance: float) -> "Prior":
        """From the adversary's own features (n, D) and their classes (n,), numbered from 0.

        `variance`: the leading directions that hold this share of it are kept. Raises UserError for an empty class and
        for features that do not vary within their classes.
        """
        features = features.double()
        counts = torch.bincount(classes)
        if (counts == 0).any():
            empty = int((counts == 0).nonzero()[0])
            raise UserError(f"head inversion: class {empty} has no image among the adversary's, so nothing to expect")
        means = features.new_zeros(len(counts), features.shape[1]).index_add_(0, classes, features)
        means /= counts[:, None]
        within = features - means[classes]
        spectrum, directions = torch.linalg.eigh(within.mT @ within / len(features))
        spectrum, directions = spectrum.flip(0).clamp(min=0), directions.flip(1)
        if spectrum[0] <= 1e-12 * features.square().mean():
            raise UserError(
                "head inversion: the features do not vary within their classes; no head tells such images apart"
            )
        shares = (spectrum / spectrum.sum()).cumsum(0)
        # directions of rounding alone carry nothing, however much of the variance is asked for
        kept = min(int((shares < variance).sum()) + 1, int((spectrum > 1e-9 * spectrum[0]).sum()))
        return cls(
            directions[:, :kept].float(),
            (means @ directions[:, :kept]).float(),
            spectrum[:kept].float(),
            float(shares[kept - 1]),
        )

    @property
    def whitening(self) -> Tensor:
        """(d,) factors that give every direction about unit variance; weak ones less, see FLOOR."""
        return (self.spectrum + FLOOR * self.spectrum.sum()).rsqrt()
