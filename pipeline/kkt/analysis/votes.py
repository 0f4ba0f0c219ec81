"""One image from the near-ties of a neighbour search: the nearest, or the mean, median or mode of all of them."""

import torch
from torch import Tensor

from pipeline.kkt.analysis.neighbours import Neighbours
from pipeline.kkt.analysis.settings import Vote

VOTERS = 64
"""How many near-ties vote at most."""


def elect(candidates: Tensor, found: Neighbours, vote: Vote, near_tie: float) -> Tensor:
    """(n, C, H, W) from candidates (M, C, H, W): pixel by pixel over those within `near_tie` × the least distance."""
    if vote == "min":
        return candidates[found.indices[:, 0]]
    voters = found.distances <= near_tie * found.distances[:, :1]
    return torch.stack([_count(candidates[row[votes]], vote) for row, votes in zip(found.indices, voters, strict=True)])


def _count(votes: Tensor, vote: Vote) -> Tensor:
    if vote == "mean":
        return votes.mean(0)
    return votes.median(0).values if vote == "median" else votes.mode(0).values
