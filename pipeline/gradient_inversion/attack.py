"""The analytic attack in one call: gradient in, images, certificate and report out."""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.gradient_inversion.analytic import LayerInput, walk_back
from pipeline.gradient_inversion.certificate import certify
from pipeline.gradient_inversion.convolution_input import convolution_input
from pipeline.gradient_inversion.feature_scale import sharpen
from pipeline.gradient_inversion.fully_connected import Features, features_of_single_images
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.minibatch import features_of_batches
from pipeline.gradient_inversion.report import Recoverability
from pipeline.gradient_inversion.step import Exposure, Gradient, count


@dataclass(frozen=True)
class Inversion:
    """The outcome of an attack on N gradients of B images each."""

    estimate: Tensor
    """(N, B, C, H, W) what the attack arrived at, right or wrong; NaN where it gave up."""
    labels: Tensor
    """(N, B)."""
    residual: Tensor
    """(N,) the certificate: relative difference between the given gradient and that of the estimate."""
    tolerance: Tensor
    """(N,) the largest residual that certifies: √(relative error of the given gradient)."""
    reports: tuple[Recoverability, ...] | None
    """Per gradient, why it could or could not be inverted; None from an attack that solves no equations."""
    seconds: float
    alone: Tensor | None = None
    """(N, B) residuals of images of batches that are certified one by one, ∞ of others; None where none can be."""
    found_by: tuple[tuple[str, ...], ...] = ()
    """Per gradient of a batch, for each image the method that found it; "" for an image that none did."""

    @property
    def refusals(self) -> tuple[str | None, ...]:
        """Per gradient, why its estimate is no success; None where it is one."""
        return tuple(self._refusal(n) for n in range(len(self.residual)))

    @property
    def success(self) -> Tensor:
        """(N,) bool: the report says that the images are determined, and the certificate holds."""
        return torch.tensor([refusal is None for refusal in self.refusals])

    @property
    def certified(self) -> Tensor:
        """(N, B) bool: images of a gradient that is a success, and those of others that are certified alone."""
        whole = self.success[:, None].expand(self.estimate.shape[:2])
        return whole if self.alone is None else whole | self.alone.isfinite()

    @property
    def image_residual(self) -> Tensor:
        """(N, B) the residual of an image's gradient, or of the image alone where that is what certifies it."""
        whole = self.residual[:, None].expand(self.estimate.shape[:2])
        return whole if self.alone is None else whole.where(self.success[:, None] | ~self.alone.isfinite(), self.alone)

    @property
    def images(self) -> Tensor:
        """(N, B, C, H, W) the estimates that are certified, NaN in place of all others."""
        return self.estimate.where(self.certified[:, :, None, None, None], torch.nan)

    def _refusal(self, n: int) -> str | None:
        if self.reports is not None and not self.reports[n].recoverable:
            return self.reports[n].reason
        if not self.residual[n] <= self.tolerance[n]:
            return f"certificate: gradient reproduced to {self.residual[n]:.1e} only, not to {self.tolerance[n]:.1e}"
        return None


def attack(
    network: Chain,
    gradient: Gradient,
    *,
    batch_size: int = 1,
    labels: Tensor | None = None,
    pixel_range: tuple[float, float] | None = None,
    exposure: Exposure | None = None,
    layer_input: LayerInput = convolution_input,
    starts_per_image: int = 100,
) -> Inversion:
    """Inverts N gradients by R-CONV, each of one image or the mean over a batch of B; all arithmetic in float64.

    `gradient` is `(N, *shape)` for every parameter of the network; `exposure` says how it was clipped, noised and
    rounded (by default rounded to the type it comes in); `labels` (N, B) are inferred unless given. Without biases
    several images may explain a gradient, −x as well as x, or a darker copy; given a `pixel_range`, the largest within
    it is taken, else that is a refusal. Raises UserError for missing or misshapen gradients; whatever else is in the
    way of a success is said in the result's `refusals`.
    """
    start = time.perf_counter()
    check_gradient(network, gradient)
    exposure = exposure or Exposure(dtype=next(iter(gradient.values())).dtype)
    precision = exposure.precision(gradient)
    exact = {name: part.double() for name, part in gradient.items()}
    if batch_size == 1:
        candidates = [sharpen(network, exact, each, precision) for each in features_of_single_images(network, exact)]
    else:
        candidates = [features_of_batches(network, exact, batch_size, precision, starts_per_image)]
    outcomes = [_follow(network, exact, features, labels, precision, exposure, layer_input) for features in candidates]
    chosen = [_choose(outcomes, n, float(precision[n].sqrt()), pixel_range) for n in range(count(gradient))]
    return Inversion(
        estimate=torch.stack([outcome.estimate[n] for n, (outcome, _) in enumerate(chosen)]),
        labels=torch.stack([outcome.labels[n] for n, (outcome, _) in enumerate(chosen)]),
        residual=torch.stack([outcome.residual[n] for n, (outcome, _) in enumerate(chosen)]),
        tolerance=precision.sqrt(),
        reports=tuple(report for _, report in chosen),
        seconds=time.perf_counter() - start,
        alone=candidates[0].alone,
        found_by=candidates[0].found_by,
    )


@dataclass(frozen=True)
class _Outcome:
    """Where one candidate for the features led."""

    estimate: Tensor
    labels: Tensor
    residual: Tensor
    reports: list[Recoverability]
    saturated: frozenset[int]


def _follow(
    network: Chain,
    gradient: Gradient,
    features: Features,
    labels: Tensor | None,
    precision: Tensor,
    exposure: Exposure,
    layer_input: LayerInput,
) -> _Outcome:
    images, reports = walk_back(network, gradient, features, precision, layer_input)
    residual, labels = certify(
        network, gradient, images, labels if features.labels is None else features.labels, exposure
    )
    return _Outcome(images, labels, residual, reports, features.saturated)


def _choose(
    outcomes: list[_Outcome], n: int, tolerance: float, pixel_range: tuple[float, float] | None
) -> tuple[_Outcome, Recoverability]:
    """For one gradient: the candidate that reproduces it, and its report, which tells an ambiguity."""
    certified = [outcome for outcome in outcomes if outcome.residual[n] <= tolerance]
    if pixel_range and len(certified) > 1:
        low, high = pixel_range
        slack = 1e-3 * (high - low)
        within = (low - slack <= o.estimate[n].min() and o.estimate[n].max() <= high + slack for o in certified)
        certified = [outcome for outcome, fits in zip(certified, within, strict=True) if fits]
        certified = sorted(certified, key=lambda outcome: -outcome.estimate[n].norm())[:1]
    # where nothing is certified, a candidate that could not be checked tells more than one that failed the check
    unchecked = [outcome for outcome in outcomes if n in outcome.saturated]
    best = min(certified or unchecked or outcomes, key=lambda outcome: outcome.residual[n])
    report = best.reports[n]
    if len(certified) > 1:
        report = replace(report, refusal=f"{len(certified)} different images explain the gradient equally")
    return best, report


def check_gradient(network: Chain, gradient: Gradient) -> None:
    """Raises UserError unless the gradient has every parameter of the network, in its shape, for the same N steps."""
    parameters = dict(network.module.named_parameters())
    if parameters.keys() != gradient.keys():
        missing, foreign = parameters.keys() - gradient.keys(), gradient.keys() - parameters.keys()
        raise UserError(f"the gradient is not this network's: missing {sorted(missing)}, foreign {sorted(foreign)}")
    steps = count(gradient)
    for name, parameter in parameters.items():
        if gradient[name].shape != (steps, *parameter.shape):
            raise UserError(
                f"gradient of {name} has shape {tuple(gradient[name].shape)}; this network's, for {steps} steps, "
                f"is {(steps, *parameter.shape)}"
            )
