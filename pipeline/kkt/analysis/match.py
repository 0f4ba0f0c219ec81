"""From candidates to verdicts: each training image's neighbour, as pixels, with its scores. Nulls go the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.errors import Failure
from pipeline.kkt.analysis.neighbours import VOTERS, elect, nearest
from pipeline.kkt.analysis.scores import pair_scores, to_pixels
from pipeline.kkt.analysis.settings import AnalysisSettings, FirstLayerSearch, Metric, Scaling, Vote

SMALL_SIDE = 4
HIT = {"ssim": 0.4, "correlation": 0.9}
"""Above it a reconstruction counts as good: SSIM as in published counts, and what few unseen images reach."""


@dataclass(frozen=True)
class Matching:
    """How candidates around `mean` (C, H, W) are found and brought to pixels."""

    mean: Tensor
    metric: Metric
    best_buddies: bool
    vote: Vote
    near_tie: float
    scaling: Scaling
    identify_by: str

    @classmethod
    def of(cls, settings: AnalysisSettings, mean: Tensor) -> "Matching":
        small = min(mean.shape[-2:]) < SMALL_SIDE
        return cls(
            mean,
            settings.metric or ("l2" if small else "ncc_half"),
            settings.best_buddies,
            settings.vote,
            settings.near_tie,
            settings.scaling or ("none" if small else "min_max"),
            settings.identify_by or ("correlation" if len(mean) == 1 else "ssim"),
        )

    def of_first_layer(self, search: FirstLayerSearch) -> "Matching":
        """The same scores of another search: that for the baseline by the first layer's weights."""
        small = min(self.mean.shape[-2:]) < SMALL_SIDE
        return replace(
            self,
            metric=search.metric or ("l2" if small else "ncc"),
            best_buddies=search.best_buddies,
            vote=search.vote,
            near_tie=search.near_tie,
        )

    @property
    def search_metric(self) -> Metric:
        """For searches among candidates themselves, which are not pixels: SSIM's place is taken by ncc."""
        return "ncc" if self.metric == "ssim" else self.metric


@dataclass(frozen=True)
class Matches:
    """What became of n images: the `candidate` (n,) each is nearest to (−1: none is left to it), its `distance` (n,),
    `rebuilt` (n, C, H, W) pixels, and `scores`: name → (n,).
    """

    candidate: Tensor
    distance: Tensor
    rebuilt: Tensor
    scores: Mapping[str, Tensor]

    def named(self) -> dict[str, Tensor]:
        """Every part by name."""
        parts = {"candidate": self.candidate, "distance": self.distance, "rebuilt": self.rebuilt}
        return {**parts, **self.scores}


def match(images: Tensor, candidates: Tensor, how: Matching, offset: Tensor | None = None) -> Matches:
    """Images (n, C, H, W) in [0, 1] against candidates (M, C, H, W), pixels once `offset` (none = the training mean) is
    added to them.

    Raises Failure when candidates have numbers that are not finite.
    """
    finite = torch.isfinite(candidates).flatten(1).all(1)
    if not finite.all():
        raise Failure(
            f"candidate {int((~finite).nonzero()[0])} of {len(candidates)} (and {int((~finite).sum()) - 1} more) is "
            "not finite: the attack diverged; lower its learning rates"
        )
    offset = how.mean if offset is None else offset
    if how.metric == "ssim":
        searched, pool = images, to_pixels(candidates, offset, how.scaling)
    else:
        searched, pool = images - how.mean, candidates
    keep = 1 if how.vote == "min" else min(VOTERS, len(candidates))
    found = nearest(searched, pool, how.metric, keep, how.best_buddies)
    rebuilt = to_pixels(elect(candidates, found, how.vote, how.near_tie), offset, how.scaling)
    left_out = found.distances[:, 0].isinf()
    scores = {name: values.masked_fill(left_out, torch.nan) for name, values in pair_scores(rebuilt, images).items()}
    return Matches(found.indices[:, 0].masked_fill(left_out, -1), found.distances[:, 0], rebuilt, scores)
