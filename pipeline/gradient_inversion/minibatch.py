"""Un-mixing the mean gradient of a batch into what each image gave to the fully connected layers.

Where there are hidden layers, the units that an image leaves silent tell it apart: see `batches`. Where there are
logits alone, the zeros that ReLU left in the features do. The gradient is Σ_b δ_b x_bᵀ: its rows span the B feature
vectors and nothing tells them apart, except that x_b ≥ 0 with many exact zeros. With V (B, D) a basis of that span, the
features are rays of the cone {q : Vᵀq ≥ 0} on which far more constraints are tight than the B−1 that make a corner.
Linear programs walk to corners; each new objective is made to prefer corners not yet found.
"""

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from pipeline.gradient_inversion.activations import ReLU
from pipeline.gradient_inversion.batches.network import Unmixed, obstacle, unmix_batch
from pipeline.gradient_inversion.fully_connected import Features
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.step import Gradient
from pipeline.randomness import numpy_generator

PROGRAMS_PER_IMAGE = 40
"""Linear programs tried for each image of a batch before it is given up."""
SPARE_ZEROS = 5
"""A corner is taken for an image's features if so many more constraints are tight there than make a corner."""


def features_of_batches(
    network: Chain, gradient: Gradient, batch_size: int, precision: Tensor, starts_per_image: int = 100
) -> Features:
    """Features of N batches of B = `batch_size` images, up to the order of the images, or the reasons why not."""
    if len(network.head) == 1:
        return _by_zeros(network, gradient, batch_size, precision)
    steps = [
        _by_units(network, gradient, n, batch_size, float(precision[n]), starts_per_image)
        for n in range(len(precision))
    ]
    return Features(
        torch.stack([step.features for step in steps]),
        torch.stack([step.gradient for step in steps]),
        tuple(step.reason for step in steps),
        labels=torch.stack([step.labels for step in steps]),
        alone=torch.stack([step.alone for step in steps]),
        found_by=tuple(step.found_by for step in steps),
    )


def _by_units(
    network: Chain, gradient: Gradient, n: int, batch_size: int, precision: float, starts_per_image: int
) -> Unmixed:
    """One batch, un-mixed by the units of the last hidden layer that its images leave silent."""
    given = {name: part[n] for name, part in gradient.items()}
    first, reason = network.head[0], obstacle(network)
    if reason is None and batch_size > (most := distinguishable(network)):
        reason = f"{first.name}: its gradient keeps at most {most} images apart, not {batch_size}"
    if reason is None and not all(part.isfinite().all() for part in given.values()):
        reason = f"{first.name}: the gradient holds NaN or infinite values"
    if reason is None:
        return unmix_batch(network, given, batch_size, precision, starts_per_image)
    nothing = first.weight.new_full((batch_size, first.weight.shape[1]), torch.nan)
    no_labels = torch.zeros(batch_size, dtype=torch.long)
    return Unmixed(nothing, nothing, no_labels, ("",) * batch_size, torch.full((batch_size,), torch.inf), reason)


def _by_zeros(network: Chain, gradient: Gradient, batch_size: int, precision: Tensor) -> Features:
    layer = network.head[0]
    found = [_features_of_batch(network, gradient, n, batch_size, float(precision[n])) for n in range(len(precision))]
    nothing = torch.full((batch_size, layer.weight.shape[1]), torch.nan, dtype=torch.float64)
    pairs = [(nothing, nothing) if isinstance(outcome, str) else outcome for outcome in found]
    return Features(
        torch.stack([value for value, _ in pairs]),
        torch.stack([arriving for _, arriving in pairs]),
        tuple(outcome if isinstance(outcome, str) else None for outcome in found),
        found_by=tuple(("" if isinstance(outcome, str) else "linear programs",) * batch_size for outcome in found),
    )


def _features_of_batch(
    network: Chain, gradient: Gradient, n: int, batch_size: int, precision: float
) -> tuple[Tensor, Tensor] | str:
    """Features and loss gradients there, both (B, D), or the reason why there are none."""
    layer = network.head[0]
    if layer.bias is None or not (network.convolutions and isinstance(network.convolutions[-1].activation, ReLU)):
        return f"{layer.name}: un-mixing a batch needs features behind a ReLU, and a bias in this layer"
    weight_gradient, bias_gradient = gradient[f"{layer.name}.weight"][n], gradient[f"{layer.name}.bias"][n]
    if not (weight_gradient.isfinite().all() and bias_gradient.isfinite().all()):
        return f"{layer.name}: the gradient holds NaN or infinite values"
    _, strength, span = torch.linalg.svd(weight_gradient, full_matrices=False)
    rank = int((strength > precision**0.75 * strength[0]).sum())
    if rank != batch_size:
        return f"{layer.name}: {_why_rank(rank, batch_size, network)}"
    rays = _rays(span[:batch_size].numpy(), precision)
    if len(rays) < batch_size:
        return f"{layer.name}: un-mixing found {len(rays)} of {batch_size} images; the others have too few zeros"
    directions = torch.from_numpy(rays)
    scaled = torch.linalg.lstsq(directions.T, weight_gradient.T, driver="gelsd").solution
    inverse_scale = torch.linalg.lstsq(scaled.T, bias_gradient[:, None], driver="gelsd").solution
    if not (inverse_scale > 0).all():
        return f"{layer.name}: the un-mixed features do not agree with the bias gradient"
    return directions / inverse_scale, (scaled * inverse_scale) @ layer.weight


def distinguishable(network: Chain) -> int:
    """The most images whose features the fully connected layers' gradients keep apart: their rank.

    That is its number of outputs, less one where they are logits: a softmax's derivatives sum to zero. A batch is
    carried through all hidden layers, so that the narrowest of them counts.
    """
    if len(network.head) == 1:
        return max(1, len(network.head[0].weight) - 1)
    return min(len(layer.weight) for layer in network.head[:-1])


def _why_rank(rank: int, batch_size: int, network: Chain) -> str:
    if batch_size > (most := distinguishable(network)):
        return f"its gradient keeps at most {most} images apart, not {batch_size}"
    return f"the gradient has rank {rank}, so it does not come from {batch_size} distinguishable images"


def _rays(span: np.ndarray, precision: float) -> np.ndarray:
    """The nonnegative combinations (up to B, D), of unit norm, of the span (B, D) that vanish in many features."""
    size = len(span)
    lengths = np.linalg.norm(span, axis=0)
    live = lengths > precision**0.75 * lengths.max()
    columns = span[:, live] / lengths[live]
    values, axes = np.linalg.eigh(columns @ columns.T)
    whitening = axes / np.sqrt(values)
    constraints = whitening.T @ columns
    centre = constraints.mean(1)
    generator = numpy_generator("un-mixing", size)
    corners: list[np.ndarray] = []
    for _ in range(PROGRAMS_PER_IMAGE * size):
        if len(corners) == size:
            break
        corner = _corner(constraints, centre, _objective(corners, generator.standard_normal(size)), precision)
        if corner is not None and all(np.abs(corner - known).max() > 1e-4 for known in corners):
            corners.append(corner)
    rays = np.array([whitening @ corner for corner in corners]).reshape(-1, size) @ span
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _objective(corners: list[np.ndarray], draw: np.ndarray) -> np.ndarray:
    """A random objective, zero on known corners but for a push away from them."""
    if not corners:
        return draw
    known = np.array(corners)
    push = np.linalg.lstsq(known, np.full(len(known), 10.0), rcond=None)[0]
    return draw - np.linalg.pinv(known) @ (known @ draw) + push


def _corner(constraints: np.ndarray, centre: np.ndarray, objective: np.ndarray, precision: float) -> np.ndarray | None:
    """The corner of {q : constraintsᵀq ≥ 0, centreᵀq = 1} least in the objective, if many constraints are tight."""
    size = len(constraints)
    program = linprog(
        objective, -constraints.T, np.zeros(constraints.shape[1]), centre[None], [1.0], (None, None), "highs-ds"
    )
    if program.x is None:
        return None
    slack = program.x @ constraints
    tight = np.abs(slack) < max(1e-8, precision**0.5) * slack.max()
    if tight.sum() < size - 1 + SPARE_ZEROS:
        return None
    corner = np.linalg.svd(constraints[:, tight].T, full_matrices=tight.sum() < size)[2][-1]
    return corner / (corner @ centre)
