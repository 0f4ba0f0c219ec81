"""A head's weights → the features of the images that trained it, and how sure that is."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.head_inversion.judge import Judge
from pipeline.head_inversion.posterior import posterior
from pipeline.head_inversion.prior import Prior
from pipeline.head_inversion.rounds import Round
from pipeline.head_inversion.rows import Rows
from pipeline.head_inversion.settings import UNEXPLAINED
from pipeline.head_inversion.slots import Slots
from pipeline.shadow.descent import shrinkage
from pipeline.shadow.heads import Head
from pipeline.shadow.private import expected_batch, gathered_noise
from pipeline.shadow.settings import Training

HEADS_AT_ONCE = 512
UNUSUAL = 2.0
"""A head is unlike the shadow models when its distance from them is so many times that of the farthest of those."""
TRAIT_FLOOR = 1e-5
"""Of the largest variance of standardised traits, in every direction: softmax biases add up to zero, but for
rounding."""
ROUNDING = 1e-12
"""ν is at least this share of the mean squared weight: float32 holds no more."""


@dataclass(frozen=True)
class Recovered:
    """Of M heads, slot by slot: features (M, N, d), centred and whitened, and the mean squared error (M, N) of a number
    of them that is to be expected."""

    features: Tensor
    error: Tensor


def remaining(training: Training, samples: int) -> float:
    """α: the share of the initial weights that is left after training on so many samples."""
    if training.private:
        return shrinkage(training, training.private.steps)[-1]
    return shrinkage(training, training.epochs * -(-samples // (training.batch_size or samples)))[-1]


def weight_noise(training: Training, inputs: int, samples: int, noise_multiplier: float | None) -> float:
    """ν of posterior.py: the variance in a first-layer weight that no training image explains."""
    start = remaining(training, samples) * training.initial_deviation(inputs)
    if not training.private:
        return start**2
    private = training.private
    step_std = noise_multiplier * private.clip_norm / expected_batch(samples, private.sample_rate)
    return start**2 + gathered_noise(training, step_std) ** 2


class HeadInversion(nn.Module):
    """Everything that inverting the heads of one recipe needs: prior, slots, ν, mean coefficients, rounds and a judge.

    `start` (P,): what known initial weights have left in the trained ones; none = they are not known.
    """

    def __init__(
        self,
        prior: Prior,
        slots: Slots,
        head: Head,
        noise: float,
        rounds: int,
        width: int,
        start: Tensor | None = None,
    ):
        super().__init__()
        self.head, self.slots = head, slots
        images, traits = len(slots.classes), head.rows * (2 + len(prior.means))
        for name, tensor in (
            ("directions", prior.directions),
            ("spectrum", prior.spectrum),
            ("whitening", prior.whitening),
            ("prior_means", prior.means),
            ("share", torch.tensor(prior.share, dtype=torch.float32)),
            ("means", prior.means[slots.classes]),
            ("noise", torch.tensor(noise, dtype=torch.float32)),
            ("start", torch.zeros(head.size) if start is None else start),
            ("mean_coefficients", torch.zeros(head.rows, images)),
            ("calibration", torch.ones(images)),
            ("usual", torch.zeros(traits)),
            ("usual_scale", torch.zeros(traits, traits)),
            ("usual_distance", torch.tensor(torch.inf)),
            *slots.tensors().items(),
        ):
            self.register_buffer(name, tensor)
        self.rounds = nn.ModuleList(Round(prior, images, width) for _ in range(rounds))
        self.judge = Judge(images)

    @classmethod
    def from_state(cls, head: Head, state: Mapping[str, Tensor]) -> "HeadInversion":
        """As it was stored, for heads of that shape."""
        prior = Prior(state["directions"], state["prior_means"], state["spectrum"], float(state["share"]))
        rounds = len({name.split(".")[1] for name in state if name.startswith("rounds.")})
        width = len(state["rounds.0.correct.0.weight"])
        inversion = cls(prior, Slots.from_tensors(state), head, float(state["noise"]), rounds, width)
        inversion.load_state_dict(dict(state))
        return inversion

    def initialise(self, generator: torch.Generator) -> None:
        for each in (*self.rounds, self.judge):
            each.initialise(generator)

    @property
    def width(self) -> int:
        """d, the numbers that stand for an image's features."""
        return len(self.spectrum)

    @property
    def prior_error(self) -> float:
        """The mean squared error of guessing the class mean, in whitened coordinates."""
        return float((self.spectrum * self.whitening.square()).mean())

    def rows(self, weights: Tensor) -> Rows:
        """The first layer of heads (M, P); where their initial weights are known, what training has added to them."""
        return Rows(self.head.split(weights - self.start), self.directions)

    def noise_in(self, rows: Rows) -> Tensor:
        """ν (M,)."""
        share = torch.where(self.noise > 0, ROUNDING, UNEXPLAINED)
        return self.noise + share * rows.weights.square().mean((1, 2))

    def whiten(self, features: Tensor) -> Tensor:
        """Features (…, N, d) of the slots in the prior's coordinates, centred and whitened."""
        return (features - self.means) * self.whitening

    def restore(self, white: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        return white / self.whitening + self.means

    def given(self, rows: Rows, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian posterior for coefficients (M, R, N): mean, whitened, and variance (M, N, d), whitened too."""
        mean, variance = posterior(rows.weights, coefficients, self.means, self.spectrum, self.noise_in(rows))
        return self.whiten(mean), variance * self.whitening.square()

    def steps(
        self, weights: Tensor, narrowed: AbstractContextManager | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Features (M, N, d), whitened, coefficients (M, R, N) and log expected error (M, N), step by step: by the mean
        coefficients; then of each round the corrected features and, but for the last, those solved anew. The last step
        alone tells its error.

        `narrowed`: the context in which the correcting networks work.
        """
        rows = self.rows(weights)
        noise = self.noise_in(rows)
        coefficients = self.mean_coefficients.expand(len(weights), -1, -1)
        first, _ = self.given(rows, coefficients)
        current = first
        yield current, coefficients, None
        for number, one in enumerate(self.rounds, 1):
            with narrowed or nullcontext():
                current = one.corrected(current, first, coefficients)
            coefficients = one.regress(rows, self.restore(current), self.mean_coefficients, self.whitening)
            if number == len(self.rounds):
                yield current, coefficients, self.judged(rows, current, first, coefficients)
                return
            yield current, coefficients, None
            current = self.whiten(one.resolve(rows, coefficients, self.restore(current), self.spectrum, noise))
            yield current, coefficients, None

    def judged(self, rows: Rows, features: Tensor, first: Tensor, coefficients: Tensor) -> Tensor:
        """The log (M, N) of the expected error of features (M, N, d); its gradient ends at the judge."""
        with torch.no_grad():
            mean, variance = self.given(rows, coefficients)
            left = (rows.weights - coefficients @ self.restore(features)).square().mean((1, 2)) / self.noise_in(rows)
        return self.judge(features.detach(), first, mean, variance, coefficients.detach(), left)

    def traits(self, weights: Tensor) -> Tensor:
        """(M, T) what tells a head of this recipe from others': of every row its bias, the log of its length and its
        product with the mean of each class."""
        rows = self.rows(weights)
        lengths = rows.weights.square().sum(2).clamp(min=torch.finfo(torch.float32).tiny).log()
        return torch.cat([rows.bias, lengths, (rows.weights @ self.prior_means.T).flatten(1)], 1)

    def set_usual(self, traits: Tensor) -> None:
        """From those of shadow models (M, T): the Gaussian of a half of them, and the distance of the farthest of the
        other half, so that few models make the limit wide rather than tight."""
        traits = torch.unique(traits.double(), dim=0)
        known, others = traits[::2], traits[1::2]
        mean, deviation = known.mean(0), known.std(0, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        standardised = (known - mean) / deviation
        values, vectors = torch.linalg.eigh(standardised.T @ standardised / len(known))
        scale = (values.clamp(min=0) + TRAIT_FLOOR * values.max().clamp(min=1)).rsqrt()
        self.usual.copy_(mean)
        self.usual_scale.copy_(vectors / deviation[:, None] * scale)
        if len(others):
            self.usual_distance.copy_(self._distance(others.float()).max())

    def _distance(self, traits: Tensor) -> Tensor:
        """(M,) Mahalanobis."""
        return ((traits - self.usual) @ self.usual_scale).norm(dim=1)

    @torch.no_grad()
    def unlike(self, weights: Tensor) -> Tensor:
        """(M,) whether a head (M, P) is no such head as the inversion was learnt from: trained otherwise, on other
        classes, or not at all."""
        return self._distance(self.traits(weights.float())) > UNUSUAL * self.usual_distance

    @torch.no_grad()
    def invert(self, weights: Tensor) -> Recovered:
        """The last step of heads (M, P), a few hundred at a time; its error as found on held-out images.

        Nothing is known of heads unlike the shadow models, so their error is at least that of guessing class means.
        """
        parts = []
        for block in weights.float().split(HEADS_AT_ONCE):
            *_, (features, _, log_error) = self.steps(block)
            parts.append(
                (features, log_error.exp() * self.calibration + self.unlike(block)[:, None] * self.prior_error)
            )
        return Recovered(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
