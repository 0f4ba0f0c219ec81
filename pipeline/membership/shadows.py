"""Log odds of images under shadow models that were trained without them and with them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.membership.attacks import log_odds
from pipeline.shadow.heads import Head, forward

RECORDS = 64
"""Images whose shadow models are trained together."""


@dataclass(frozen=True)
class Base:
    """Shadow models that know none of the victims' images: weights (S, P), what trained them (S, N) and how it was
    labelled (S, N)."""

    weights: Tensor
    indices: Tensor
    labels: Tensor


def odds_under(head: Head, weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """(M, n): φ of images, features (n, D) and labels (n,), under each of M heads (M, P)."""
    shown = features.expand(len(weights), *features.shape)
    return log_odds(forward(head.split(weights), shown), labels.expand(len(weights), -1))


def own_odds(head: Head, weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """(M, n): φ of images, features (M, n, D) and labels (M, n), of which head m is shown row m."""
    return log_odds(forward(head.split(weights), features), labels)


def odds_with(
    head: Head,
    base: Base,
    records: Tensor,
    places: Tensor,
    labels: Tensor,
    features: Tensor,
    train: Callable[[Tensor, Tensor, int], Tensor],
    progress: Callable[[int, int, str], None],
) -> Tensor:
    """(R, S): φ of each record (R,), a row of `features`, under shadow models trained with it.

    Model s of record r is trained on base set s, with the record at `places` (R,) of it, and labels (R,) are what it is
    there. train(indices (M, N), labels (M, N), block) → weights (M, P) of heads on rows of `features`.
    """
    shadows, found = len(base.indices), []
    for block, start in enumerate(range(0, len(records), RECORDS)):
        part = slice(start, start + RECORDS)
        own, count = records[part], len(records[part])
        indices, learnt = (table.repeat(count, 1, 1) for table in (base.indices, base.labels))
        at = places[part, None, None].expand(-1, shadows, 1)
        indices.scatter_(2, at, own[:, None, None].expand_as(at))
        learnt.scatter_(2, at, labels[part, None, None].expand_as(at))
        weights = train(indices.flatten(0, 1), learnt.flatten(0, 1), block)
        shown = features[own].repeat_interleave(shadows, 0).unsqueeze(1)
        phi = own_odds(head, weights, shown, labels[part].repeat_interleave(shadows)[:, None])
        found.append(phi.view(count, shadows))
        progress(min(start + RECORDS, len(records)), len(records), "images with their own shadow models")
    return torch.cat(found)
