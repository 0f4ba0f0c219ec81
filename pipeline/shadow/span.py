"""Orthonormal coordinates of the space that a training set spans: X' = L Qᵀ, at most N of D + 1 dimensions."""

import torch
from torch import Tensor

from pipeline.shadow import heads
from pipeline.shadow.gram import gram_matrix


class Span:
    """For each of M sets of features (M, N, D), x' = (x, 1): samples are rows of L (M, N, N), Q is never formed.

    L is the Cholesky factor of X' X'ᵀ in float64. A sample that the ones before it span (a duplicate, a set of zeros)
    adds no dimension: its column of L and its direction in Q are zero, and nothing is divided by zero.
    """

    def __init__(self, features: Tensor):
        self.features = features
        factor, live = semidefinite_cholesky(gram_matrix(features.double()), torch.finfo(features.dtype).eps)
        self.samples = factor.to(features.dtype)
        self.live = live.unsqueeze(1)
        self.solvable = self.samples + torch.diag_embed((~live).to(features.dtype))

    def coordinates(self, weight: Tensor, bias: Tensor) -> Tensor:
        """(W, b) Q of weight (M, K, D) and bias (M, K): (M, K, N)."""
        outputs = heads.affine(weight, bias, self.features.mT)
        return torch.linalg.solve_triangular(self.solvable.mT, outputs, upper=True, left=False).mul_(self.live)

    def add_to(self, weight: Tensor, bias: Tensor, coordinates: Tensor) -> None:
        """Adds coordinates Qᵀ to weight and bias, in place."""
        coefficients = torch.linalg.solve_triangular(
            self.solvable, coordinates * self.live, upper=False, left=False
        ).contiguous()
        weight.baddbmm_(coefficients, self.features)
        bias.add_(coefficients.sum(2))


def semidefinite_cholesky(matrices: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """L (M, N, N) with L Lᵀ = `matrices` (positive semidefinite), and which pivots are live (M, N).

    A pivot at or below `tolerance` times its diagonal entry counts as zero, and so does its column: in a semidefinite
    matrix a zero on the remaining diagonal has a zero row.
    """
    factor = torch.zeros_like(matrices)
    live = []
    for j in range(matrices.shape[1]):
        column = matrices[:, j:, j] - torch.bmm(factor[:, j:, :j], factor[:, j, :j].unsqueeze(2)).squeeze(2)
        alive = column[:, 0] > tolerance * matrices[:, j, j]
        scale = torch.where(alive, column[:, 0], torch.inf).rsqrt()
        factor[:, j:, j] = column * scale.unsqueeze(1)
        live.append(alive)
    return factor, torch.stack(live, dim=1)
