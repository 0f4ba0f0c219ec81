"""A head's weights → the features of the images that trained it, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.head_inversion.estimator import Estimator, Rows, estimator_for, statistics
from pipeline.head_inversion.posterior import posterior
from pipeline.head_inversion.prior import Prior
from pipeline.head_inversion.slots import Slots
from pipeline.shadow.descent import shrinkage
from pipeline.shadow.heads import Head
from pipeline.shadow.private import expected_batch, gathered_noise
from pipeline.shadow.settings import Training

HEADS_AT_ONCE = 512


@dataclass(frozen=True)
class Recovered:
    """Of M heads, slot by slot: mean and variance (M, N, d) of the features, in the prior's coordinates."""

    mean: Tensor
    variance: Tensor


def weight_noise(training: Training, samples: int, noise_multiplier: float | None) -> float:
    """ν of posterior.py: the variance in a first-layer weight that no training image explains."""
    steps = training.private.steps if training.private else training.epochs * batches_of(training, samples)
    noise = (shrinkage(training, steps)[-1] * training.init_std) ** 2
    if training.private:
        step_std = noise_multiplier * training.private.clip_norm / expected_batch(samples, training.private.sample_rate)
        noise += gathered_noise(training, step_std) ** 2
    return noise


def batches_of(training: Training, samples: int) -> int:
    """Steps an epoch."""
    return -(-samples // (training.batch_size or samples))


class HeadInversion(nn.Module):
    """Everything that inverting the heads of one recipe needs: prior, slots, ν and the estimator of coefficients."""

    def __init__(self, prior: Prior, slots: Slots, head: Head, noise: float, width: int):
        """`width`: of the estimator's network; 0 = the mean coefficients of shadow models."""
        super().__init__()
        self.head, self.slots = head, slots
        for name, tensor in (
            ("directions", prior.directions),
            ("spectrum", prior.spectrum),
            ("whitening", prior.whitening),
            ("prior_means", prior.means),
            ("means", prior.means[slots.classes]),
            ("noise", torch.tensor(noise, dtype=torch.float32)),
            ("calibration", torch.ones(len(slots.classes))),
            ("share", torch.tensor(prior.share, dtype=torch.float32)),
            *slots.tensors().items(),
        ):
            self.register_buffer(name, tensor)
        upper = head.size - head.rows * (head.inputs + 1)
        self.estimator: Estimator = estimator_for(prior, slots.classes, head.rows, upper, width)

    @classmethod
    def from_state(cls, head: Head, state: Mapping[str, Tensor]) -> "HeadInversion":
        """As it was stored, for heads of that shape."""
        prior = Prior(state["directions"], state["prior_means"], state["spectrum"], float(state["share"]))
        first = state.get("estimator.network.0.weight")
        width = 0 if first is None else len(first)
        inversion = cls(prior, Slots.from_tensors(state), head, float(state["noise"]), width)
        inversion.load_state_dict(dict(state))
        return inversion

    @property
    def width(self) -> int:
        """d, the numbers that stand for an image's features."""
        return len(self.spectrum)

    def read(self, weights: Tensor) -> tuple[Rows, Tensor]:
        """The first layer of heads (M, P), and the statistics (M, F) that the estimator reads."""
        rows = Rows(self.head.split(weights), self.directions)
        return rows, statistics(rows, self.prior_means, self.whitening)

    def solve(self, rows: Rows, coefficients: Tensor, factor: Tensor | float) -> Recovered:
        """Posterior for given coefficients; `factor` on ν. ν is kept above the rounding of the weights."""
        rounding = 1e-12 * rows.weights.square().mean((1, 2))
        return Recovered(
            *posterior(rows.weights, coefficients, self.means, self.spectrum, self.noise * factor + rounding)
        )

    def forward(self, weights: Tensor) -> Recovered:
        """Features behind heads (M, P); the variance as it was found on shadow models (`calibration`)."""
        rows, read = self.read(weights)
        recovered = self.solve(rows, *self.estimator(read))
        return Recovered(recovered.mean, recovered.variance * self.calibration[:, None])

    @torch.no_grad()
    def invert(self, weights: Tensor) -> Recovered:
        """`forward` without gradients, a few hundred heads at a time."""
        parts = [self(block) for block in weights.float().split(HEADS_AT_ONCE)]
        return Recovered(torch.cat([part.mean for part in parts]), torch.cat([part.variance for part in parts]))

    def whiten(self, features: Tensor) -> Tensor:
        """Features (…, N, d) of the slots, in the prior's coordinates, centred and whitened for a decoder."""
        return (features - self.means) * self.whitening

    def explained(self, variance: Tensor) -> Tensor:
        """(M, N) the share of an image's within-class variance that the head is expected to give away."""
        return 1 - variance.sum(2) / self.spectrum.sum()
