"""Baselines: candidates independent of the victim (noise, test images, the mean image), and its first layer."""

import torch
from torch import Tensor, nn

from pipeline.kkt.networks import Victim


def mean_image(images: Tensor, mean: Tensor) -> Tensor:
    """(1, C, H, W): every reconstruction is the mean of the training images (n, C, H, W); zeros where `mean`, which is
    taken off images, is that mean already.
    """
    return (images.mean(0) - mean)[None]


def noise(candidates: Tensor, generator: torch.Generator) -> Tensor:
    """(M, C, H, W): normal, of the candidates' own standard deviation."""
    drawn = torch.randn(candidates.shape, generator=generator, dtype=candidates.dtype)
    return drawn.to(candidates.device) * candidates.std()


def of_all_classes(images: Tensor, labels: Tensor, count: int) -> Tensor:
    """(≤ count, C, H, W): the first of each class, equally many, in their order; of fewer images, all."""
    if len(images) <= count:
        return images
    members = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    places = torch.cat([own[: -(-count // len(members))] for own in members])
    return images[places.sort().values[:count].to(images.device)]


def first_layer_weights(network: Victim) -> Tensor | None:
    """(units, C, H, W): the weights of each unit of a fully connected first layer, as an image; else None."""
    layer = network.layers[0]
    return layer.weight.detach().unflatten(1, network.shape) if isinstance(layer, nn.Linear) else None
