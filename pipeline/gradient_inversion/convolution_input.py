"""The input of one convolution from everything known about it: gradient constraints, weight constraints, or both."""

from dataclasses import dataclass
from math import prod

import torch
from scipy.sparse.linalg import LinearOperator, lsmr
from torch import Tensor
from torch.nn import functional

from pipeline.gradient_inversion.gradient_constraints import (
    phase_matrix,
    phase_target,
    phases,
    place,
)
from pipeline.gradient_inversion.layers import Convolution
from pipeline.gradient_inversion.report import LayerReport
from pipeline.gradient_inversion.weight_constraints import WeightFactor, weight_factor

FEW_UNKNOWNS = 512
"""Up to this many unknowns left by the gradient constraints, solving for them costs less than factoring all weights."""
DENSE_WORK = 4e9
"""All constraints are solved as one dense system while rows × unknowns² stay below this."""
DENSE_UNKNOWNS = 3000
"""Beyond this many, weight constraints are applied as convolutions in an iteration, never written as a matrix."""
WEAK = 1e-4
"""Directions that gradient constraints shrink by more than this are left to the weight constraints."""
MOST_DOUBTED = 256
DOUBT = 0.05
"""Unreliable: less trusted than this share of the most trusted pre-activation; at most MOST_DOUBTED of an image are."""
WORST_FACTOR = 1e6
"""Condition, outside its weak directions, up to which a factor of the weights is used."""


@dataclass(frozen=True)
class Known:
    """What is known at one convolution for N gradients of B images each."""

    gradient: Tensor
    """(N, B, F, Ho, Wo) loss gradient at the convolution's output."""
    weight_gradient: Tensor
    """(N, F, C, kh, kw)."""
    rows: Tensor
    """(N, B, *value_shape) pre-activations without bias; 0 where unknown."""
    trust: Tensor
    """Same shape: the activation's slope there, by which a row is weighted; 0 where the pre-activation is unknown."""
    precision: Tensor
    """(N,) relative error of the given gradients."""

    def __getitem__(self, which) -> "Known":
        return Known(*(part[which] for part in vars(self).values()))


def convolution_input(convolution: Convolution, known: Known) -> tuple[Tensor, list[LayerReport]]:
    """The inputs (N, B, C, H, W), 0 at pixels that are not read, and a line of report for each of the N gradients.

    Gradient constraints alone where they determine the input well; else the weight constraints through their cached
    factor, with gradient constraints in the directions the weights nearly lose; else gradient constraints first and
    weight constraints in their null space. Where all that does not determine an input, it is the least one that fits.
    """
    images, condition = _from_gradient(convolution, known)
    unknowns = _unknowns(convolution, images.shape[1])
    weight_rows = (known.trust > 0).flatten(1).sum(1)
    short = ~(condition <= (known.precision**-0.5).clamp(max=unknowns))
    rank = torch.full_like(weight_rows, unknowns)
    through_factor = short & _factor_applies(convolution, known)
    if through_factor.any():
        factor = weight_factor(convolution)
        for n in through_factor.nonzero()[:, 0].tolist():
            images[n], condition[n] = _from_weights(factor, known[n : n + 1])
        rank[through_factor] = unknowns - _unknowns_left(convolution, images.shape[1])
    jointly = short & ~through_factor
    for n in jointly.nonzero()[:, 0].tolist():
        images[n], condition[n], rank[n] = _from_both(convolution, known[n : n + 1])
    methods = ["weights" if w else "both" if b else "gradient" for w, b in zip(through_factor, jointly, strict=True)]
    table = zip(methods, rank, weight_rows, condition, known.precision, strict=True)
    return images, [
        LayerReport(convolution.name, method, unknowns, *(number.item() for number in numbers))
        for method, *numbers in table
    ]


def stacked_input(convolution: Convolution, known: Known) -> tuple[Tensor, list[LayerReport]]:
    """As `convolution_input`, but every layer by one dense system of all its rows, as R-GAP does."""
    images, reports = [], []
    for n in range(len(known.precision)):
        image, condition = _from_all_rows(convolution, known[n : n + 1])
        images.append(image)
        rows = int((known.trust[n] > 0).sum())
        unknowns = _unknowns(convolution, len(image))
        equations = min(unknowns, known.weight_gradient[n].numel())
        precision = float(known.precision[n])
        reports.append(LayerReport(convolution.name, "both", unknowns, equations, rows, condition, precision))
    return torch.stack(images), reports


def _from_gradient(convolution: Convolution, known: Known) -> tuple[Tensor, Tensor]:
    """Least squares on the gradient constraints alone; condition ∞ (and any image) where they are too few."""
    steps, batch = known.gradient.shape[:2]
    images = known.gradient.new_zeros(steps, batch, *convolution.input_shape)
    condition = known.precision.new_ones(steps)
    systems = [(phase, phase_matrix(phase, known.gradient)) for phase in phases(convolution)]
    if any(matrix.shape[1] < matrix.shape[2] for _, matrix in systems):
        return images, torch.full_like(condition, torch.inf)
    for phase, matrix in systems:
        target = phase_target(phase, known.weight_gradient)
        solution, phase_condition = _least_squares(matrix, target)
        place(phase, solution, images)
        condition = torch.maximum(condition, phase_condition)
    return images, condition


def _least_squares(matrix: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """QR least squares, refined once, of (N, m, n) against (N, m, C); its condition is ‖R‖·‖R⁻¹‖ (Frobenius)."""
    size = matrix.shape[-1]
    reflections, factors = torch.geqrf(matrix)
    r = reflections[..., :size, :].triu()

    def solve(right: Tensor) -> Tensor:
        rotated = torch.ormqr(reflections, factors, right, left=True, transpose=True)
        return torch.linalg.solve_triangular(r, rotated[..., :size, :], upper=True)

    inverse = torch.linalg.solve_triangular(r, torch.eye(size, dtype=r.dtype).expand_as(r), upper=True)
    condition = (torch.linalg.matrix_norm(r) * torch.linalg.matrix_norm(inverse)).nan_to_num(torch.inf, torch.inf)
    solution = solve(target)
    solution = solution + solve(target - matrix @ solution)
    return solution, condition


def _unknowns(convolution: Convolution, batch: int) -> int:
    return batch * convolution.input_shape[0] * int(convolution.read_pixels.sum())


def _unknowns_left(convolution: Convolution, batch: int) -> int:
    """Unknowns that gradient constraints leave at the least: channels × Σ over phases of pixels − equations."""
    filters, channels = convolution.weight.shape[:2]
    missing = (batch * len(phase.pixels) - filters * len(phase.taps) for phase in phases(convolution))
    return channels * sum(max(0, count) for count in missing)


def _factor_applies(convolution: Convolution, known: Known) -> Tensor:
    """(N,) bool: every pre-activation known, few directions lost by the weights, and much left open by the gradient."""
    all_known = known.trust.flatten(1).amin(1) > known.precision.sqrt()
    enough = prod(convolution.value_shape) >= prod(convolution.input_shape)
    many = _unknowns_left(convolution, known.rows.shape[1]) > FEW_UNKNOWNS
    if not (enough and many and all_known.any() and convolution.read_pixels.all()):
        return torch.zeros_like(all_known)
    return all_known & (weight_factor(convolution).condition < WORST_FACTOR)


def _from_weights(factor: WeightFactor, known: Known) -> tuple[Tensor, float]:
    """For one gradient: weight constraints through their factor, then all constraints in what that leaves doubtful.

    Doubtful are, for each image, the directions the weights nearly lose and those its least trusted rows decide.
    """
    convolution = factor.convolution
    images = factor.solve(known.rows)[0]
    trust = known.trust[0]
    gradient_size, row_size = (_root_mean_square(part) for part in (known.weight_gradient, known.rows))
    bases, triangles, row_targets = [], [], []
    for b, doubted in enumerate(_doubted_rows(trust)):
        basis = factor.directions(doubted)
        images[b] -= torch.einsum("chw,rchw,rkij->kij", images[b], basis, basis)
        moved = (convolution.rows(basis) * trust[b]).flatten(1).T / row_size
        left = ((known.rows[0, b] - convolution.rows(images[b : b + 1])[0]) * trust[b]).flatten() / row_size
        q, r = torch.linalg.qr(moved)
        bases.append(basis)
        triangles.append(r)
        row_targets.append(q.T @ left)
    sizes = [len(basis) for basis in bases]
    if not sum(sizes):
        return images, factor.condition
    gradient_rows, gradient_targets = [], []
    for phase in phases(convolution):
        matrices = phase_matrix(phase, known.gradient)[0].split(len(phase.pixels), 1)
        pixels = images.flatten(2)[..., phase.pixels]
        moves = [matrix @ basis.flatten(2)[..., phase.pixels].mT for matrix, basis in zip(matrices, bases, strict=True)]
        gradient_rows.append(torch.cat([move.permute(1, 2, 0).flatten(0, 1) for move in moves], 1))
        reached = sum(matrix @ own.T for matrix, own in zip(matrices, pixels, strict=True))
        gradient_targets.append((phase_target(phase, known.weight_gradient)[0] - reached).flatten())
    matrix = torch.cat([torch.cat(gradient_rows) / gradient_size, torch.block_diag(*triangles)])
    target = torch.cat([torch.cat(gradient_targets) / gradient_size, *row_targets])
    found, condition = _least_squares(matrix[None], target[None, :, None])
    for b, (basis, coefficients) in enumerate(zip(bases, found[0, :, 0].split(sizes), strict=True)):
        images[b] += torch.einsum("r,rchw->chw", coefficients, basis)
    return images, max(float(condition), factor.condition)


def _doubted_rows(trust: Tensor) -> Tensor:
    """Mask (B, *value_shape) of the least trusted pre-activations, `MOST_DOUBTED` for each image at most."""
    limit = trust.flatten(1).kthvalue(min(MOST_DOUBTED, trust[0].numel()), dim=1).values[:, None, None, None]
    return (trust < limit) & (trust < DOUBT * trust.max())


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt().clamp(min=torch.finfo(torch.float64).tiny)


def _from_both(convolution: Convolution, known: Known) -> tuple[Tensor, float, int]:
    """For one gradient: its constraints where they are strong, the trusted weight rows in what they leave open."""
    batch = known.gradient.shape[1]
    channels = convolution.input_shape[0]
    precision = float(known.precision)
    trusted = known.trust > precision**0.5
    decompositions = []
    for phase in phases(convolution):
        matrix = phase_matrix(phase, known.gradient)[0]
        u, s, vt = torch.linalg.svd(matrix, full_matrices=matrix.shape[0] < matrix.shape[1])
        decompositions.append((phase, u, s, vt, phase_target(phase, known.weight_gradient)[0]))
    strongest = max(float(s.max()) if len(s) else 0.0 for _, _, s, _, _ in decompositions)
    rows = int(trusted.sum())
    weakest = max(precision**0.5, WEAK)
    if channels * _nullity(decompositions, weakest * strongest) > rows:
        weakest = precision**0.75
    images = known.gradient.new_zeros(1, batch, *convolution.input_shape)
    left = channels * _nullity(decompositions, weakest * strongest)
    rank = _unknowns(convolution, batch) - left
    if left > rows:
        return images[0], torch.inf, rank
    equations = rows + convolution.weight.numel()
    if equations * _unknowns(convolution, batch) ** 2 <= DENSE_WORK:
        return *_from_all_rows(convolution, known), rank
    null_space, faintest = [], strongest
    for phase, u, s, vt, target in decompositions:
        keep = int((s > weakest * strongest).sum())
        if keep:
            faintest = min(faintest, float(s[keep - 1]))
        place(phase, (vt[:keep].T @ ((u[:, :keep].T @ target) / s[:keep, None]))[None], images)
        directions = vt.new_zeros(len(vt) - keep, batch, convolution.input_shape[1] * convolution.input_shape[2])
        directions[..., phase.pixels] = vt[keep:].unflatten(1, (batch, len(phase.pixels)))
        null_space.append(directions)
    condition = strongest / faintest if faintest else torch.inf
    if not left:
        return images[0], condition, rank
    directions = torch.cat(null_space).unflatten(-1, convolution.input_shape[1:])
    weight = known.trust[trusted]
    missing = (known.rows - convolution.rows(images))[trusted] * weight
    solve = _dense_completion if left <= DENSE_UNKNOWNS else _iterated_completion
    completion, weight_condition = solve(convolution, directions, trusted[0], weight, missing)
    images = images[0] + torch.einsum("qc,qbhw->bchw", completion, directions)
    return images, max(condition, weight_condition), rank


def _nullity(decompositions: list, threshold: float) -> int:
    return sum(len(vt) - int((s > threshold).sum()) for _, _, s, vt, _ in decompositions)


def _from_all_rows(convolution: Convolution, known: Known) -> tuple[Tensor, float]:
    """For one gradient of a small layer: every constraint in one dense least-squares system."""
    shape = (known.gradient.shape[1], *convolution.input_shape)
    read = convolution.read_pixels.expand(shape).flatten()
    basis = torch.eye(prod(shape), dtype=torch.float64)[read].unflatten(1, shape)
    gradient_rows, gradient_targets = [], []
    for phase in phases(convolution):
        pixels = basis.flatten(3)[..., phase.pixels].transpose(1, 2).flatten(2)
        gradient_rows.append((pixels @ phase_matrix(phase, known.gradient)[0].T).flatten(1))
        gradient_targets.append(phase_target(phase, known.weight_gradient)[0].T.flatten())
    gradient_target, row_target = torch.cat(gradient_targets), (known.rows[0] * known.trust[0]).flatten()
    by_weights = (convolution.rows(basis) * known.trust[0]).flatten(1).T
    gradient_size, row_size = _root_mean_square(gradient_target), _root_mean_square(row_target)
    matrix = torch.cat([torch.cat(gradient_rows, 1).T / gradient_size, by_weights / row_size])
    target = torch.cat([gradient_target / gradient_size, row_target / row_size])
    solution, condition = _least_squares(matrix[None], target[None, :, None])
    return torch.einsum("q,qbchw->bchw", solution[0, :, 0].nan_to_num(), basis), float(condition)


def _dense_completion(
    convolution: Convolution, directions: Tensor, trusted: Tensor, weight: Tensor, missing: Tensor
) -> tuple[Tensor, float]:
    """Coefficients (q, C) of the null space that the weighted weight rows ask for, by QR; and the condition."""
    filters, channels = convolution.rows_kernel.shape[:2]
    kernel = convolution.rows_kernel.transpose(0, 1).flatten(0, 1)[:, None]
    spread = functional.conv2d(
        directions.flatten(0, 1)[:, None], kernel, stride=convolution.rows_stride, padding=convolution.padding
    )
    spread = spread.unflatten(1, (channels, filters)).unflatten(0, directions.shape[:2]).transpose(1, 2)
    matrix = spread[:, :, trusted].flatten(0, 1).T * weight[:, None]
    solution, condition = _least_squares(matrix[None], missing[None, :, None])
    return solution.nan_to_num().view(-1, channels), float(condition)


def _iterated_completion(
    convolution: Convolution, directions: Tensor, trusted: Tensor, weight: Tensor, missing: Tensor
) -> tuple[Tensor, float]:
    """As `_dense_completion`, by LSMR with restarts on the residual; the condition is LSMR's estimate."""
    batch, channels = directions.shape[1], convolution.input_shape[0]
    shape = (len(directions), channels)

    def forward(coefficients):
        images = torch.einsum("qc,qbhw->bchw", torch.from_numpy(coefficients).view(shape), directions)
        return (convolution.rows(images[None])[0][trusted] * weight).numpy()

    def adjoint(rows):
        values = directions.new_zeros(batch, *convolution.value_shape)
        values[trusted] = torch.from_numpy(rows) * weight
        images = convolution.rows_adjoint(values[None])[0]
        return torch.einsum("qbhw,bchw->qc", directions, images).flatten().numpy()

    operator = LinearOperator((len(weight), shape[0] * shape[1]), matvec=forward, rmatvec=adjoint, dtype="float64")
    solution, residual, condition = 0, missing.numpy(), 1.0
    for _ in range(3):
        step, *_, condition, _ = lsmr(operator, residual, atol=1e-13, btol=1e-13, conlim=1e12, maxiter=2000)
        solution = solution + step
        residual = missing.numpy() - forward(solution)
    return torch.from_numpy(solution).view(shape), float(condition)
