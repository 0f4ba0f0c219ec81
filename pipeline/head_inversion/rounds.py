"""One round of inverting a head: correct the features, then the coefficients, then solve for the features again.

The Gaussian posterior leaves two kinds of error. Features are not Gaussian: behind a ReLU they are sparse and never
negative, so a network that has seen many can tell what is wrong with an estimate. And the coefficients C are those of
an average training set. Each corrects the other. With better features Φ, C is a regression of the rows on them,

    C = (V Λ Φᵀ + τ C̄) (Φ Λ Φᵀ + τ I)⁻¹,

Λ a weight for each direction (and one for the biases b = C 1), τ how far the mean coefficients C̄ are trusted. With a
better C the posterior is solved anew around the corrected features, with their smaller variance for the prior's. What
the heads do not determine (the softmax's gradients sum to zero, so N = K images leave a weighted sum of all of them
open) is then what the corrections of all images say together. Λ, τ and the variances are learnt with the network.
"""

import torch
from torch import Tensor, nn

from pipeline.head_inversion.posterior import solve
from pipeline.head_inversion.prior import Prior
from pipeline.head_inversion.rows import Rows

LOG_VARIANCE = -1.0
"""Where a round starts: correcting leaves exp(−1) of the prior's variance."""
LOG_TRUST = -1.2
"""Where τ starts, as a share of the mean diagonal of Φ Λ Φᵀ / N."""
BIAS_WEIGHT = 3.0


class Round(nn.Module):
    """Features x (M, N, d), centred and whitened → better ones, with the coefficients (M, R, N) that go with them."""

    def __init__(self, prior: Prior, images: int, width: int):
        super().__init__()
        directions = len(prior.spectrum)
        self.correct = nn.Sequential(
            nn.Linear(2 * directions + images + 1, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, directions),
        )
        self.log_variance = nn.Parameter(torch.full((directions,), LOG_VARIANCE))
        self.log_weight = nn.Parameter(torch.zeros(directions))
        self.log_bias_weight = nn.Parameter(torch.zeros(()))
        self.log_trust = nn.Parameter(torch.tensor(LOG_TRUST))

    def initialise(self, generator: torch.Generator) -> None:
        """PyTorch's default law; the last layer starts at zero, which corrects nothing."""
        for layer in self.correct:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        nn.init.zeros_(self.correct[-1].weight)
        nn.init.zeros_(self.correct[-1].bias)

    @property
    def scales(self) -> list[nn.Parameter]:
        """The few numbers besides the network."""
        return [self.log_variance, self.log_weight, self.log_bias_weight, self.log_trust]

    def corrected(self, current: Tensor, first: Tensor, coefficients: Tensor) -> Tensor:
        """Features corrected (M, N, d).

        The network reads an image's estimates, the current one and the first, which image it is, and how far it has
        moved the head compared with the others.
        """
        models, images, _ = current.shape
        length = coefficients.square().sum(1).sqrt()
        told = [
            current,
            first,
            torch.eye(images, device=current.device).expand(models, -1, -1),
            (length / length.mean(1, keepdim=True).clamp(min=1e-30))[:, :, None],
        ]
        return current + self.correct(torch.cat(told, 2)).float()

    def regress(self, rows: Rows, features: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
        """C (M, R, N) given features Φ (M, N, d), not centred; `mean` C̄ (R, N)."""
        weight = (self.log_weight * 0.5).exp() * whitening
        bias_weight = BIAS_WEIGHT * self.log_bias_weight.exp()
        images = torch.cat([features * weight, bias_weight * torch.ones_like(features[..., :1])], 2)
        seen = torch.cat([rows.weights * weight, bias_weight * rows.bias[:, :, None]], 2)
        gram = images @ images.mT
        trust = self.log_trust.exp() * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] / gram.shape[1]
        system = gram + trust * torch.eye(gram.shape[1], device=gram.device)
        return torch.linalg.solve(system, (seen @ images.mT + trust * mean).mT).mT

    def resolve(self, rows: Rows, coefficients: Tensor, features: Tensor, spectrum: Tensor, noise: Tensor) -> Tensor:
        """The posterior's mean (M, N, d) around features (M, N, d), not centred; ν (M,)."""
        return solve(rows.weights, coefficients, features, spectrum * self.log_variance.exp(), noise)
