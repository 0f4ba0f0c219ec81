"""The features of a head's training images, given its first layer: a linear Gaussian inverse problem.

Gradient descent leaves first-layer weights W = α W_0 + C X + ξ (R×D): R rows (hidden units, or logits), N training
images with features X (N×D), coefficients C (R×N), initial weights W_0 ~ N(0, σ_0²) and, under DP-SGD, noise
ξ ~ N(0, σ_ξ²). In the prior's coordinates (directions U, D×d) the columns separate: with V = W U and for direction j

    v_j = C φ_j + e,   φ_j ~ N(μ_j, s_j I_N),   e ~ N(0, ν I_R),   ν = α² σ_0² + σ_ξ²,

so, by conditioning a Gaussian on a linear observation,

    mean      φ̂_j = μ_j + Cᵀ (C Cᵀ + (ν/s_j) I_R)⁻¹ (v_j − C μ_j)
    variance  of image n:  s_j (1 − c_nᵀ (C Cᵀ + (ν/s_j) I_R)⁻¹ c_n).

One eigendecomposition of C Cᵀ (R×R) serves all d directions. SCIENCE: "Inverting the head first".
"""

import torch
from torch import Tensor


def posterior(
    rows: Tensor, coefficients: Tensor, means: Tensor, spectrum: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance (M, N, d) of the features behind M heads.

    rows V (M, R, d); coefficients C (M, R, N); means μ (N, d), of each image's class; spectrum s (d,), positive; noise
    ν (M,), positive.
    """
    square = coefficients @ coefficients.mT
    shift = noise[:, None] / spectrum
    values, vectors = _decomposed(square)
    solved = _ShiftedSolve.apply(square, rows - coefficients @ means, shift, values, vectors)
    explained = (vectors.mT @ coefficients).square().mT @ (1 / (values[:, :, None] + shift[:, None, :]))
    return means + coefficients.mT @ solved, spectrum * (1 - explained).clamp(min=0)


def solve(rows: Tensor, coefficients: Tensor, means: Tensor, spectrum: Tensor, noise: Tensor) -> Tensor:
    """The posterior's mean alone; means μ (M, N, d) may differ from head to head. Differentiable in every
    argument."""
    square = coefficients @ coefficients.mT
    shift = noise[:, None] / spectrum
    solved = _ShiftedSolve.apply(square, rows - coefficients @ means, shift, *_decomposed(square))
    return means + coefficients.mT @ solved


def _decomposed(square: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (M, R) and eigenvectors (M, R, R), worked out in float64."""
    values, vectors = torch.linalg.eigh(square.detach().double())
    return values.clamp_(min=0).to(square.dtype), vectors.to(square.dtype)


class _ShiftedSolve(torch.autograd.Function):
    """y_j = (A + t_j I)⁻¹ r_j for all j, of A (M, R, R) = P diag(λ) Pᵀ, r (M, R, d) and t (M, d).

    The gradient is that of the solution, h_j = (A + t_j I)⁻¹ g_j, dA = −Σ_j h_j y_jᵀ, dt_j = −h_j·y_j; eigenvectors are
    never differentiated, so equal eigenvalues (dead or equal rows) do no harm.
    """

    @staticmethod
    def forward(context, square, right, shift, values, vectors):
        denominator = values[:, :, None] + shift[:, None, :]
        solution = vectors @ ((vectors.mT @ right) / denominator)
        context.save_for_backward(solution, denominator, vectors)
        return solution

    @staticmethod
    def backward(context, gradient):
        solution, denominator, vectors = context.saved_tensors
        carried = vectors @ ((vectors.mT @ gradient) / denominator)
        return -carried @ solution.mT, carried, -(carried * solution).sum(1), None, None
