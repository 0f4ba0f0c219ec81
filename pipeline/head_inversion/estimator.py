"""The coefficients C of a head, estimated from its weights alone.

Where the softmax hardly moves, C is almost the same for every training set and its mean over shadow models will do.
Where the first steps saturate it (learning rate × squared length of the features ≫ 1), C is different from set to set,
and a network reads it off what the weights say of each row: its bias, its products with the other rows and with the
class means. Such products do not change when features are rotated within the prior, so few examples teach them.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.head_inversion.prior import Prior

LOG_NOISE = 1.5
"""Where the network starts: the error of the first estimates acts like more noise, exp(1.5) ν."""


class Rows:
    """The first layer of M heads in the prior's coordinates, hidden units in a fixed order.

    weights V (M, R, d), bias (M, R), upper (M, U): the second layer, flat; U = 0 for a linear head.
    """

    def __init__(self, parameters: list[Tensor], directions: Tensor):
        """`parameters`: weight (M, R, D), bias (M, R) and, behind a hidden layer, those of the second."""
        weight, bias, *upper = parameters
        self.order = None
        if upper:  # hidden units stand in any order: that of their weight in the first logit makes it one
            self.order = upper[0][:, 0].argsort(dim=1, descending=True, stable=True)
            weight = weight.gather(1, self.order[:, :, None].expand_as(weight))
            bias = bias.gather(1, self.order)
            upper = [upper[0].gather(2, self.order[:, None].expand_as(upper[0])), upper[1]]
        self.weights, self.bias = weight @ directions, bias
        self.upper = torch.cat([part.flatten(1) for part in upper], 1) if upper else bias[:, :0]

    def arrange(self, coefficients: Tensor) -> Tensor:
        """Coefficients (M, R, N), as training knows them, with their rows in this order."""
        if self.order is None:
            return coefficients
        return coefficients.gather(1, self.order[:, :, None].expand_as(coefficients))


def statistics(rows: Rows, prior_means: Tensor, whitening: Tensor) -> Tensor:
    """(M, F) what the estimator reads: biases, upper weights, V Vᵀ and V μᵀ, raw and in whitened coordinates."""
    white, white_means = rows.weights * whitening, prior_means * whitening
    products = [
        rows.weights @ rows.weights.mT,
        white @ white.mT,
        rows.weights @ prior_means.mT,
        white @ white_means.mT,
    ]
    return torch.cat([rows.bias, rows.upper, *(product.flatten(1) for product in products)], 1)


class Estimator(nn.Module):
    """statistics (M, F) → coefficients C (M, R, N) and the factor (M,) on ν that stands for their error.

    Without `network` (`width` 0) it is the mean over shadow models. Standardises what it reads and what it says by the
    moments given to `fit_scales`.
    """

    def __init__(self, statistics: int, rows: int, images: int, width: int):
        super().__init__()
        self.rows, self.images = rows, images
        for name, shape in (("mean", (statistics,)), ("deviation", (statistics,)), ("log_noise", ())):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("coefficients_mean", torch.zeros(rows, images))
        self.register_buffer("coefficients_deviation", torch.zeros(rows, images))
        self.network = None
        if width:
            sizes = (statistics, width, width, width)
            layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.GELU())]
            self.network = nn.Sequential(*layers, nn.Linear(width, rows * images + 1))

    def initialise(self, generator: torch.Generator) -> None:
        """PyTorch's default law, drawn from `generator`; the last layer starts at zero, which is the mean."""
        for layer in self.network or ():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        if self.network:
            nn.init.zeros_(self.network[-1].weight)
            nn.init.zeros_(self.network[-1].bias)

    def fit_scales(self, read: Tensor, coefficients: Tensor) -> None:
        """Moments of the statistics (M, F) and of the true coefficients (M, R, N) of shadow models."""
        self.mean.copy_(read.mean(0))
        self.deviation.copy_(read.std(0) + 1e-6 * read.abs().mean(0) + 1e-30)
        self.coefficients_mean.copy_(coefficients.mean(0))
        self.coefficients_deviation.copy_(coefficients.std(0))
        self.log_noise.fill_(LOG_NOISE if self.network else 0.0)

    def forward(self, read: Tensor) -> tuple[Tensor, Tensor]:
        if self.network is None:
            return self.coefficients_mean.expand(len(read), -1, -1), self.log_noise.exp().expand(len(read))
        said = self.network((read - self.mean) / self.deviation)
        moved = said[:, :-1].unflatten(1, (self.rows, self.images))
        return self.coefficients_mean + moved * self.coefficients_deviation, (said[:, -1] + self.log_noise).exp()

    def error(self, estimated: Tensor, coefficients: Tensor) -> Tensor:
        """Mean squared error of C, each coefficient in units of the root mean square deviation of all."""
        return (estimated - coefficients).square().mean() / self.coefficients_deviation.square().mean()


def estimator_for(prior: Prior, classes: Tensor, rows: int, upper: int, width: int) -> Estimator:
    """For heads of R rows with U upper weights; classes (N,) of the images' slots."""
    groups = len(prior.means)
    return Estimator(rows + upper + 2 * rows * rows + 2 * rows * groups, rows, len(classes), width)
