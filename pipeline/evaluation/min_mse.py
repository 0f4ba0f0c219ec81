"""min-MSE (arXiv 2505.14323): the distance of each reconstruction to the nearest image that it may be."""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.data.images import to_bytes, to_unit
from pipeline.evaluation.victims import VictimSet
from pipeline.networks.reconstructor import Reconstructor

BLOCK = 64


@dataclass(frozen=True)
class Scores:
    """distances (V, G) float64, MSE in [-1, 1]; nearest (V, G) index of the image; rebuilt (V, G, C, S, S) uint8."""

    distances: np.ndarray
    nearest: np.ndarray
    rebuilt: np.ndarray


@torch.no_grad()
def min_mse(network: Reconstructor, victims: VictimSet) -> Scores:
    """Rebuild every group of every victim and measure the distance to the nearest of its J candidates."""
    network.eval()
    count = victims.groups.shape[1]
    distances, nearest, rebuilt = [], [], []
    for start in range(0, len(victims.inputs), BLOCK):
        inputs, groups = (part[start : start + BLOCK] for part in (victims.inputs, victims.groups))
        label = torch.arange(count, device=inputs.device).repeat(len(inputs)) if network.classes else None
        images = network(inputs.repeat_interleave(count, 0), label)
        errors = (images[:, None] - to_unit(victims.images[groups.flatten(0, 1)])).square().mean((2, 3, 4))
        best = errors.min(1)
        distances.append(best.values.double().view(-1, count))
        nearest.append(groups.flatten(0, 1).gather(1, best.indices[:, None]).view(-1, count))
        rebuilt.append(to_bytes(images).unflatten(0, (-1, count)))
    return Scores(*(torch.cat(parts).cpu().numpy() for parts in (distances, nearest, rebuilt)))
