"""The fully connected head: the features that entered it and the loss gradient there (R-CONV, §3.1; R-GAP, §3)."""

from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from pipeline.errors import UserError
from pipeline.gradient_inversion.layers import Chain, Linear
from pipeline.gradient_inversion.step import Gradient


@dataclass(frozen=True)
class Features:
    """What enters the head, for N gradients of B images each."""

    value: Tensor
    """(N, B, D); NaN where nothing can be said."""
    gradient: Tensor
    """(N, B, D) ∂ℓ/∂value."""
    refusals: tuple[str | None, ...]
    """Per gradient, why its features are NaN, or not to be followed."""
    saturated: frozenset[int] = frozenset()
    """The gradients whose features are refused because the loss derivative underflowed (saturated softmax)."""
    labels: Tensor | None = None
    """(N, B) of batches, where un-mixing tells them."""
    alone: Tensor | None = None
    """(N, B) residuals of images that are certified one by one, whatever became of the rest of their batch; else ∞."""
    found_by: tuple[tuple[str, ...], ...] = ()
    """Per batch, for each image the method that found it; "" for an image that none did."""


def features_of_single_images(network: Chain, gradient: Gradient) -> list[Features]:
    """Features behind gradients of single images (B = 1): candidates, where the gradient leaves a choice.

    With a bias δ = ∂ℓ/∂b, and the input is the least-squares solution of ∂ℓ/∂W = δ xᵀ over all outputs. Without one, a
    last layer's gradient fixes δ xᵀ only, and the loss tells the scale (`_scales`); the certificate will choose.
    """
    first = network.head[0]
    weight_gradient = gradient[f"{first.name}.weight"]
    if first.bias is not None:
        delta = gradient[f"{first.name}.bias"]
        return [_features(first, weight_gradient, _input(delta, weight_gradient), delta)]
    if len(network.head) > 1:
        raise UserError(f"layer {first.name}: without a bias, a fully connected layer must be the only one of its head")
    return [_features(first, weight_gradient, *candidate) for candidate in _bias_free(first, weight_gradient)]


def _features(layer: Linear, weight_gradient: Tensor, value: Tensor, delta: Tensor) -> Features:
    refusals = []
    for given, found in zip(weight_gradient, value, strict=True):
        if torch.isfinite(found).all():
            refusals.append(None)
        elif not torch.isfinite(given).all():
            refusals.append(f"{layer.name}: the gradient holds NaN or infinite values")
        elif not given.any():
            refusals.append(f"{layer.name}: the gradient is zero, as from a saturated softmax; it says nothing")
        else:
            refusals.append(f"{layer.name}: no input and loss derivative explain the gradient together")
    return Features(value[:, None], (delta @ layer.weight)[:, None], tuple(refusals))


def _input(delta: Tensor, weight_gradient: Tensor) -> Tensor:
    """x (N, D) of δ xᵀ = ∂ℓ/∂W by least squares, scaled so that no square underflows; NaN where δ = 0."""
    unit = delta / delta.abs().amax(1, keepdim=True)
    scaled = weight_gradient / delta.abs().amax(1)[:, None, None]
    return torch.einsum("nk,nkd->nd", unit, scaled) / unit.square().sum(1, keepdim=True)


def _bias_free(layer: Linear, weight_gradient: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Candidates (x (N, D), δ (N, K)) with δ xᵀ = ∂ℓ/∂W; the same number for every gradient, NaN beyond its own."""
    choices = []
    for outer in weight_gradient:
        own = []
        if torch.isfinite(outer).all() and outer.any():
            u, s, vt = torch.linalg.svd(outer, full_matrices=False)
            delta = u[:, 0] * s[0]
            own = [(vt[0] * scale, delta / scale) for scale in _scales(layer.weight @ vt[0], delta)]
        choices.append(own)
    outputs, inputs = layer.weight.shape
    nothing = (weight_gradient.new_full((inputs,), torch.nan), weight_gradient.new_full((outputs,), torch.nan))
    size = max(1, *(len(own) for own in choices))
    candidates = zip(*(own + [nothing] * (size - len(own)) for own in choices), strict=True)
    return [(torch.stack([x for x, _ in each]), torch.stack([delta for _, delta in each])) for each in candidates]


def _scales(logits: Tensor, delta: Tensor) -> list[float]:
    """All t for which δ/t is the loss's derivative at logits t·`logits` (K,): the loss tells how large the input was.

    One logit z, logistic loss, label y = ±1: with u = y·z, ∂ℓ/∂W·w = −u/(1 + eᵘ). A wrongly classified image (u < 0)
    answers once, a rightly classified one up to twice, and every u with either label.
    K logits, cross-entropy: |t|·(1 − p_y) = |δ_y|, p = softmax(t·`logits`), for a class y whose δ alone has its sign.
    """
    if len(delta) == 1:
        product = float(delta * logits)
        roots = _roots(lambda u: u * torch.sigmoid(-u) + product, -1e6)
        return [label * u / float(logits) for u in roots for label in (1, -1)]
    found = []
    for y in range(len(delta)):
        others = torch.arange(len(delta)) != y
        if not delta[y] or (delta[others] * delta[y] > 0).any():
            continue
        sign = -float(delta[y].sign())
        lead = sign * (logits[others] - logits[y])
        size = delta[y].abs()

        def excess(t: Tensor, lead: Tensor = lead, size: Tensor = size) -> Tensor:
            return t * torch.sigmoid(torch.logsumexp(t[..., None] * lead, -1)) - size

        found += [sign * t for t in _roots(excess, 0.0)]
    return found


def _roots(function, lowest: float) -> list[float]:
    """The roots in [lowest, 10⁶] of a smooth function of a scalar, bracketed on a grid that is dense near zero."""
    half = torch.logspace(-12, 6, 4000, dtype=torch.float64)
    grid = torch.cat([-half.flip(0), half])
    grid = grid[grid > lowest]
    signs = function(grid).sign()
    brackets = (signs[:-1] * signs[1:] < 0).nonzero()[:, 0].tolist()

    def scalar(t: float) -> float:
        return float(function(torch.tensor(t, dtype=torch.float64)))

    ends = ((float(grid[i]), float(grid[i + 1])) for i in brackets)
    return grid[signs == 0].tolist() + [brentq(scalar, a, b, xtol=1e-300, rtol=1e-15) for a, b in ends]
