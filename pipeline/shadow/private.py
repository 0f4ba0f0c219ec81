"""DP-SGD on many heads at once, exactly in distribution, without a per-sample gradient and mostly without D.

Gradients lie in the span of the training inputs and isotropic noise is isotropic in any orthonormal coordinates. So the
N coordinates of the weights in that span (span.Span) go through DP-SGD by themselves, on N-dimensional samples; what is
orthogonal to the span no sample ever sees: it shrinks by weight decay and gathers noise, which is drawn once at the end
with the variance of all steps together. A sample's gradient in the first layer is δ ⊗ x', of norm ‖δ‖·‖x'‖: clipping
needs norms only. A second layer is small and carried explicitly. Same law as Opacus' PrivacyEngine with SGD.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.shadow import heads
from pipeline.shadow.descent import Descent, impulse_response, shrinkage
from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training
from pipeline.shadow.span import Span

NORM_OFFSET = 1e-6
"""Added to a norm before it divides, as Opacus does."""


def train_private(
    features: Tensor,
    targets: Targets,
    parameters: list[Tensor],
    training: Training,
    noise_multiplier: float,
    generator: torch.Generator,
    coefficients_out: Tensor | None = None,
    absent: Tensor | None = None,
) -> None:
    """Trains M heads in place for `training.private.steps` steps.

    features: (M, N, D); parameters: the layers' initial weights and biases, see heads.Head. `coefficients_out` (M, R,
    N), where it is given, receives C of W' = α W'_0 + C X' + noise: what the clipped gradients add. absent (M,): of
    each head the sample that never takes part. All else stays, the divisor ⌊N·q⌋ too: so the law is that of the set
    without this record, as adding or removing one record means it. The generator draws, step by step, who takes part
    (M, 1, N), the noise in the span (M, K, N) and that of the second layer; at last the noise orthogonal to the span,
    weight (M, K, D) and bias (M, K).
    """
    private = training.private
    weight, bias, *upper = parameters
    models, samples, _ = features.shape
    batch = expected_batch(samples, private.sample_rate)
    noise_std = noise_multiplier * private.clip_norm

    span = Span(features)
    initial = span.coordinates(weight, bias)
    coordinates = initial.clone()
    squared_norms = span.samples.square().sum(2).unsqueeze(1)
    descent = Descent(training)
    coefficients = torch.zeros_like(coordinates)  # (M, R, N), as the N coordinates of the R rows are

    for _ in range(private.steps):
        activations = heads.activate(torch.bmm(coordinates, span.samples.mT), upper)
        slope = targets.slope(heads.logits(activations, upper))
        below = heads.backward(slope, activations, upper)
        gradients = SampleGradients(below, slope, activations, upper, span.samples, squared_norms)
        chance = torch.rand(models, 1, samples, generator=generator, dtype=slope.dtype, device=slope.device)
        taken = chance < private.sample_rate
        if absent is not None:
            taken.scatter_(2, absent.view(-1, 1, 1), False)
        clipped = gradients.weighted(clip_factors(gradients, taken, private.clip_norm))
        summed = [gradient.mul_(1 / batch) for gradient in add_noise(clipped.sums(), noise_std, generator)]
        descent.step([coordinates, *upper, coefficients], [*summed, clipped.below.mul_(1 / batch)])

    if coefficients_out is not None:
        coefficients_out.copy_(coefficients)
    remains = shrinkage(training, private.steps)[-1]
    gathered = gathered_noise(training, noise_std / batch)
    noise = [drawn(weight, generator), drawn(bias, generator)]
    coordinates.sub_(initial, alpha=remains).sub_(span.coordinates(*noise), alpha=gathered)
    for parameter, orthogonal in zip((weight, bias), noise, strict=True):
        parameter.mul_(remains).add_(orthogonal, alpha=gathered)
    span.add_to(weight, bias, coordinates)


@dataclass(frozen=True)
class SampleGradients:
    """Every sample's gradient, as its factors: below ⊗ input in the first layer, slope ⊗ activations in the second.

    below (M, R, N), slope (M, K, N), activations (M, R, N); upper: the second layer's weight and bias, if there is one;
    inputs (M, N, N): the samples in the coordinates of their span; squared_inputs (M, 1, N): their squared norms.
    """

    below: Tensor
    slope: Tensor
    activations: Tensor
    upper: list[Tensor]
    inputs: Tensor
    squared_inputs: Tensor

    def norms(self) -> Tensor:
        """(M, 1, N), over all layers."""
        squared = self.below.square().sum(1, keepdim=True) * self.squared_inputs
        if self.upper:
            above = self.activations.square().sum(1, keepdim=True) + 1
            squared += self.slope.square().sum(1, keepdim=True) * above
        return squared.sqrt_()

    def weighted(self, factors: Tensor) -> "SampleGradients":
        """Each sample's gradient times its factor (M, 1, N)."""
        below = self.below * factors
        return replace(self, below=below, slope=self.slope * factors if self.upper else below)

    def sums(self) -> list[Tensor]:
        """Over samples: of the first layer's coordinates (M, R, N), of the second's weight and bias."""
        return [torch.bmm(self.below, self.inputs), *heads.upper_gradients(self.slope, self.activations, self.upper)]


def clip_factors(gradients: SampleGradients, taken: Tensor, clip_norm: float) -> Tensor:
    """(M, 1, N): what each sample's gradient counts in the sum, so that none counts more than `clip_norm`; 0 for those
    that the step did not take."""
    return (clip_norm / (gradients.norms() + NORM_OFFSET)).clamp_(max=1).mul_(taken)


def add_noise(summed: list[Tensor], std: float, generator: torch.Generator) -> list[Tensor]:
    """Adds N(0, std²) to every coordinate of every layer's summed gradient, in place."""
    return [gradient.add_(drawn(gradient, generator), alpha=std) for gradient in summed]


def drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def gathered_noise(training: Training, step_std: float) -> float:
    """Deviation of the noise in a weight after all steps, each of which adds noise of `step_std` to its gradient."""
    return step_std * sum(r * r for r in impulse_response(training, training.private.steps)) ** 0.5


def expected_batch(samples: int, sample_rate: float) -> int:
    """⌊N·q⌋, what Opacus divides a step's summed gradient by."""
    batch = int(samples * sample_rate)
    if batch == 0:
        raise UserError(
            f"private.sample_rate {sample_rate:g} takes less than one of {samples} images a step; "
            f"use at least 1/{samples}"
        )
    return batch
