"""The attack that an audit repeats on every head: weights → features of the training images → pictures of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Experiment
from pipeline.head_inversion.build import stored_inversion
from pipeline.head_inversion.inversion import HeadInversion
from pipeline.networks.decoders import Decoder
from pipeline.reconstruction.decoder import trained_decoder
from pipeline.store import Shards

HEADS_AT_ONCE = 100


@dataclass(frozen=True)
class Rebuilt:
    """Of M heads, slot by slot: features (M, N, d), whitened; error (M, N), the squared error that the posterior
    expects of them, 1 where it knows no more than the class; pictures (M, N, C, S, S) in [-1, 1]."""

    features: Tensor
    error: Tensor
    pictures: Tensor


@dataclass(frozen=True)
class Attack:
    """Head inversion and decoder of an experiment, as its stages stored them."""

    inversion: HeadInversion
    network: Decoder

    @classmethod
    def stored(cls, experiment: Experiment, inputs: Mapping[str, Shards], device: torch.device) -> "Attack":
        """The decoder in the state that the evaluation scores."""
        inversion = stored_inversion(experiment, inputs["head_inversion"], device)
        classes = len(inversion.prior_means) if len(inversion.prior_means) > 1 else 0
        network = trained_decoder(experiment, inputs["reconstructor"], "conditional", inversion.width, classes)
        return cls(inversion, network.to(device).eval())

    @property
    def classes(self) -> Tensor:
        """(N,): the class of every slot."""
        return self.inversion.slots.classes

    @torch.no_grad()
    def rebuild(self, weights: Tensor) -> Rebuilt:
        """Of heads (M, P)."""
        recovered = self.inversion.invert(weights)
        heads, slots, _ = recovered.features.shape
        labels = self.classes.to(weights.device).expand(heads, -1).flatten() if self.network.classes else None
        pictures = self.network(recovered.features.flatten(0, 1), labels).unflatten(0, (heads, slots))
        return Rebuilt(recovered.features, recovered.error / self.inversion.prior_error, pictures)

    def pictures(self, weights: Tensor) -> Iterator[Tensor]:
        """(m, N, P) of heads (M, P'), some at a time: each picture as a row of numbers."""
        for some in weights.split(HEADS_AT_ONCE):
            yield self.rebuild(some).pictures.flatten(2)

    def distances(self, weights: Tensor, images: Tensor, labels: np.ndarray) -> np.ndarray:
        """(M, n) float64: mean squared error between each image (n, P), of class labels (n,), and the nearest picture
        of its class that each head (M, P') gives."""
        found = np.empty((len(weights), len(images)))
        done = 0
        for pictures in self.pictures(weights):
            rows = slice(done, done := done + len(pictures))
            for number in np.unique(labels):
                columns, slots = np.flatnonzero(labels == number), (self.classes == number).nonzero()[:, 0]
                mine = images[torch.as_tensor(columns)]
                found[rows, columns] = nearest(pictures[:, slots.to(pictures.device)], mine).cpu().numpy()
        return found


def nearest(pictures: Tensor, images: Tensor) -> Tensor:
    """(m, n): mean squared error from images (n, P) to the nearest of each head's pictures (m, s, P)."""
    squares = pictures.square().sum(2)[:, :, None] + images.square().sum(1)
    products = pictures @ images.mT
    return ((squares - 2 * products) / images.shape[1]).clamp(min=0).amin(1)
