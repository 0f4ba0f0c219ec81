"""The gradient of a hidden ReLU layer over a batch, as a mixture of B rank-one terms.

With x_b the layer's inputs, [x_b, 1] those with a 1 for the bias, e_b = p_b − onehot(y_b) the error at the logits and
a_b ∈ {0, 1}ⁿ the units that image b fires, the gradient of weight and bias side by side is

    M = [∂ℓ/∂W | ∂ℓ/∂b] = (1/B) Σ_b δ_b [x_b, 1],   δ_b = a_b ∘ (readoutᵀ e_b),

of rank B for B images in general position: M = U S Vᵀ. Every δ_b lies in the span of U and every [x_b, 1] in that of V.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

RANK_MARGIN = 30.0
"""A singular value counts if it is so many times the error of the largest."""


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """The last hidden layer, D inputs and n ReLU units, and the layer behind it, which gives K ≥ 2 logits."""

    weight: Tensor
    """(n, D)"""
    bias: Tensor
    """(n,)"""
    readout: Tensor
    """(K, n)"""
    readout_bias: Tensor
    """(K,)"""

    @property
    def classes(self) -> int:
        return len(self.readout)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Which units fire, (m, n) bool, and class probabilities (m, K), for inputs (m, D)."""
        before = torch.addmm(self.bias, inputs, self.weight.T)
        logits = torch.addmm(self.readout_bias, before.clamp(min=0), self.readout.T)
        return before > 0, logits.softmax(1)

    def deltas(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """δ (m, n) of inputs (m, D) with labels (m,): derivatives of each image's own loss at the pre-activations."""
        fires, probabilities = self.forward(inputs)
        errors = probabilities - torch.nn.functional.one_hot(labels, self.classes)
        return fires * (errors @ self.readout)


@dataclass(frozen=True, eq=False)
class Mixture:
    """M (n, D + 1), the mean over `size` images of which those behind it are still to be found, and its SVD."""

    matrix: Tensor
    left: Tensor
    """U (n, B)"""
    strength: Tensor
    """(B,) singular values, falling"""
    right: Tensor
    """Vᵀ (B, D + 1)"""
    precision: float
    """Relative error of the matrix."""
    beyond: float
    """The singular value after the last one kept, over that one: 0 where the rank is told by rounding alone."""

    @property
    def rank(self) -> int:
        return len(self.strength)

    @property
    def spread(self) -> float:
        """Ratio of the largest to the smallest singular value: rounding grows so much on the way to the weakest."""
        return float(self.strength[0] / self.strength[-1])

    @property
    def grain(self) -> float:
        """Relative error to be expected of a δ in the span of U: each entry of the matrix is rounded on its own."""
        return self.precision * max(1.0, self.spread / 100)

    @cached_property
    def left_single(self) -> Tensor:
        """U in float32, for searches that rounding does not harm."""
        return self.left.float()

    def misfit(self, deltas: Tensor) -> Tensor:
        """(m,) share of each δ (m, n) outside the span of U, as norms."""
        outside = deltas - (deltas @ self.left) @ self.left.T
        return outside.norm(dim=1) / deltas.norm(dim=1).clamp(min=torch.finfo(deltas.dtype).tiny)


def mixture(matrix: Tensor, precision: float, most_rank: int) -> Mixture:
    """The mixture M (n, D + 1), of the rank that its singular values tell, or less: at most `most_rank`.

    A random range finder (Halko, Martinsson, Tropp, 2011): exact for a matrix whose rank is below the columns drawn.
    """
    generator = torch.Generator(device=matrix.device).manual_seed(0)
    most = min(matrix.shape)
    columns = min(most, 2 * most_rank)
    while True:
        draw = torch.randn(matrix.shape[1], columns, generator=generator, dtype=matrix.dtype, device=matrix.device)
        basis = torch.linalg.qr(matrix @ draw)[0]
        inner, strength, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        told = int((strength > RANK_MARGIN * precision * strength[0]).sum())
        if columns == most or told < 0.75 * columns:
            break
        columns = min(most, 2 * columns)
    kept = max(1, min(told, most_rank))
    beyond = float(strength[kept] / strength[kept - 1]) if told > kept else 0.0
    return Mixture(matrix, (basis @ inner)[:, :kept], strength[:kept], right[:kept], precision, beyond)


def rank_one_residual(
    mixture: Mixture, layer: HiddenLayer, inputs: Tensor, labels: Tensor, size: int, weights: Tensor | float = 1.0
) -> Tensor:
    """(m,): how far the removal of w δ [x, 1] / B is from lowering the rank of M by one (Wedderburn, 1934).

    That holds exactly if δ is in the column space, [x, 1] in the row space, and w [x, 1] M⁺ δ = B. The largest of the
    three deviations is given; neither a mixture of images nor an image with another label meets the last.
    """
    extended = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
    deltas = layer.deltas(inputs, labels)
    row = extended @ mixture.right.T
    beside = (extended - row @ mixture.right).norm(dim=1) / extended.norm(dim=1)
    product = (row / mixture.strength * (deltas @ mixture.left)).sum(1)
    return (
        torch.stack([mixture.misfit(deltas), beside, (weights * product / size - 1).abs()])
        .amax(0)
        .nan_to_num(torch.inf)
    )
