"""min-MSE (arXiv 2505.14323): the distance of each reconstruction to the nearest image that it may be."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.data.images import to_bytes, to_unit
from pipeline.evaluation.image_metrics import Metric
from pipeline.evaluation.victims import VictimSet
from pipeline.networks.decoders import Decoder

BLOCK = 64
"""Reconstructions at a time: they should stay in a core's cache from the network to the last metric."""


@dataclass(frozen=True)
class Scores:
    """distances (V, G) float64, MSE in [-1, 1]; nearest (V, G) index of the image; rebuilt (V, G, C, S, S) uint8.

    likeness: further metrics (V, G) float64 between each reconstruction and that nearest image, by name.
    """

    distances: np.ndarray
    nearest: np.ndarray
    rebuilt: np.ndarray
    likeness: Mapping[str, np.ndarray]


@torch.no_grad()
def min_mse(network: Decoder, victims: VictimSet, metrics: Mapping[str, Metric] | None = None) -> Scores:
    """Rebuild every group of every victim, measure the distance to the nearest of its J candidates, and by `metrics`
    how like it the reconstruction is otherwise."""
    network.eval()
    count = victims.groups.shape[1]
    columns: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("distances", "nearest", "rebuilt", *(metrics or {}))
    }
    block = max(1, BLOCK // count)
    for start in range(0, len(victims), block):
        shown, groups = victims.reading[start : start + block], victims.groups[start : start + block]
        label = None if shown.labels is None else shown.labels.flatten()
        images = network(shown.inputs.flatten(0, 1), label).contiguous()
        choices = groups.flatten(0, 1)
        candidates = to_unit(victims.images[choices])
        best = mean_squared_errors(images, candidates).min(1)
        rows = torch.arange(len(choices), device=choices.device)
        originals = candidates[rows, best.indices]
        found = {
            "distances": best.values.double(),
            "nearest": choices[rows, best.indices],
            "rebuilt": to_bytes(images),
            **{name: metric(images, originals).double() for name, metric in (metrics or {}).items()},
        }
        for name, values in found.items():
            columns[name].append(values.unflatten(0, (-1, count)).cpu())
    table = {name: torch.cat(parts).numpy() for name, parts in columns.items()}
    return Scores(**{name: table.pop(name) for name in ("distances", "nearest", "rebuilt")}, likeness=table)


def mean_squared_errors(images: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """(B, J) of images (B, C, S, S) against candidates (B, J, C, S, S)."""
    return (images[:, None] - candidates).square_().mean((2, 3, 4))
