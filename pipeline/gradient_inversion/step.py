"""The training step whose gradient is exposed, and what of that gradient the adversary gets to see."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Gradient = Mapping[str, Tensor]
"""Parameter name → gradient of the loss, with a leading axis over N independent steps: `(N, *parameter.shape)`."""


@dataclass(frozen=True)
class Exposure:
    """What is done to the gradient of a batch before it is seen, as in DP-SGD (Abadi et al., 2016; arXiv 1607.00133).

    Each image's own gradient is clipped to `clip_norm`; of their mean over `batch_size` images each coordinate gets
    normal noise of standard deviation `noise_multiplier · clip_norm / batch_size`; the result is rounded to `dtype`.
    The adversary knows all four numbers.
    """

    dtype: torch.dtype = torch.float64
    clip_norm: float | None = None
    noise_multiplier: float = 0.0
    batch_size: int = 1

    @property
    def noise_std(self) -> float:
        """Of the noise on each coordinate of the mean gradient."""
        return self.noise_multiplier * (self.clip_norm or 0.0) / self.batch_size

    def apply(self, gradient: Gradient, generator: torch.Generator) -> dict[str, Tensor]:
        """From each image's own gradient (N · batch_size, …), a batch after the other, what is seen of N steps."""
        exposed = self.mean(self.clip(gradient))
        if self.noise_multiplier:
            for name, part in exposed.items():
                noise = torch.randn(part.shape, generator=generator, dtype=part.dtype)
                exposed[name] = part + self.noise_std * noise
        return self.rounded(exposed)

    def clip(self, gradient: Gradient) -> dict[str, Tensor]:
        """Each gradient of norm at most `clip_norm`."""
        if self.clip_norm is None:
            return dict(gradient)
        scale = (self.clip_norm / norms(gradient)).clamp(max=1)
        return {name: torch.einsum("n,n...->n...", scale.to(part.dtype), part) for name, part in gradient.items()}

    def mean(self, gradient: Gradient) -> dict[str, Tensor]:
        """Over each batch."""
        return {name: part.unflatten(0, (-1, self.batch_size)).mean(1) for name, part in gradient.items()}

    def rounded(self, gradient: Gradient) -> dict[str, Tensor]:
        return {name: part.to(self.dtype) for name, part in gradient.items()}

    def precision(self, gradient: Gradient) -> Tensor:
        """Relative error `(N,)` of an exposed gradient: its rounding, or the norm of its noise over its own norm."""
        rounding = torch.finfo(self.dtype).eps
        if not self.noise_multiplier:
            return torch.full((count(gradient),), rounding, dtype=torch.float64)
        coordinates = sum(part[0].numel() for part in gradient.values())
        return (self.noise_std * coordinates**0.5 / norms(gradient)).clamp(min=rounding)


def training_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the batch; logistic loss where the network has one logit and labels are 0 and 1.

    `logits` is `(B, K)`; `targets` is labels `(B,)` or, for K > 1, class probabilities `(B, K)`.
    """
    if logits.shape[-1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[..., 0], targets.to(logits.dtype))
    return nn.functional.cross_entropy(logits, targets)


def gradient_of_step(
    network: nn.Module, images: Tensor, targets: Tensor, *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """The gradient of one step on a batch `(B, C, H, W)`: one tensor per parameter, in the network's order."""
    loss = training_loss(network(images), targets)
    return torch.autograd.grad(loss, tuple(network.parameters()), create_graph=create_graph)


def gradients_of_steps(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Gradients of N independent steps: images `(N, B, C, H, W)`, labels `(N, B)` → name → `(N, *parameter.shape)`."""
    names = [name for name, _ in network.named_parameters()]
    steps = [gradient_of_step(network, batch, targets) for batch, targets in zip(images, labels, strict=True)]
    return {name: torch.stack(parts) for name, parts in zip(names, zip(*steps, strict=True), strict=True)}


def count(gradient: Gradient) -> int:
    """N, the number of independent steps."""
    return len(next(iter(gradient.values())))


def norms(gradient: Gradient) -> Tensor:
    """Euclidean norm over all parameters of each of the N gradients: `(N,)`, float64."""
    return torch.stack([part.double().flatten(1).square().sum(1) for part in gradient.values()]).sum(0).sqrt()
