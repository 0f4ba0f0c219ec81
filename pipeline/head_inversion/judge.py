"""How large the error of recovered features is, as far as an adversary can tell without the originals.

The posterior's own variance, given the coefficients that were found, is right where these are right. How far they are
off shows in how far the solution moved, in what of the head it does not explain, and in which image it is; a small
network reads these and corrects the variance.
"""

import torch
from torch import Tensor, nn

HIDDEN = 64
SIGNS = 5
TINY = 1e-12


class Judge(nn.Module):
    """Log of the expected mean squared error (M, N), whitened; nothing that it learns reaches what it judges."""

    def __init__(self, images: int):
        super().__init__()
        self.correct = nn.Sequential(nn.Linear(SIGNS + images, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))

    def initialise(self, generator: torch.Generator) -> None:
        """PyTorch's default law; the last layer starts at zero, which leaves the posterior's variance."""
        first, _, last = self.correct
        bound = first.in_features**-0.5
        for parameter in first.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, features: Tensor, first: Tensor, mean: Tensor, variance: Tensor, coefficients: Tensor, left: Tensor
    ) -> Tensor:
        """features and their first estimate (M, N, d); mean and variance (M, N, d) of the posterior for coefficients
        (M, R, N); left (M,): the mean square that these do not explain of the head, as a multiple of its noise."""
        models, images, _ = features.shape
        log = lambda values: values.clamp(min=TINY).log()  # noqa: E731
        stated = log(variance.mean(2))
        signs = [
            stated,
            log((features - mean).square().mean(2)),
            log((features - first).square().mean(2)),
            log(coefficients.square().sum(1)) - log(coefficients.square().sum((1, 2)) / images)[:, None],
            log(left)[:, None].expand(-1, images),
        ]
        which = torch.eye(images, device=features.device).expand(models, -1, -1)
        return stated + self.correct(torch.cat([torch.stack(signs, 2), which], 2))[..., 0]
