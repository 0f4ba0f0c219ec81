"""What an adversary would show: candidates ranked without the training set, each shown once."""

import torch
from torch import Tensor

from pipeline.kkt.analysis.neighbours import features, nearest
from pipeline.kkt.analysis.settings import Metric
from pipeline.kkt.analysis.trials import Trials


def agreement(candidates: Tensor, metric: Metric) -> Tensor:
    """(T, m) from (T, m, C, H, W): mean distance of a candidate to the nearest one of every other trial, T ≥ 2."""
    trials, count = candidates.shape[:2]
    pool = candidates.flatten(0, 1)
    apart = torch.stack([nearest(pool, own, metric).distances[:, 0].view(trials, count) for own in candidates])
    others = ~torch.eye(trials, dtype=torch.bool, device=pool.device)[..., None]
    return (apart * others).sum(0) / (trials - 1)


def rankings(trials: Trials, metric: Metric, generator: torch.Generator) -> dict[str, Tensor]:
    """Name → order (T·m,) of the pool, most promising first.

    multiplier: how much the attack lets a candidate count; support: by the units that it activates; contrast: ‖x‖;
    agreement: between trials; random: none.
    """
    contrast = trials.pool.flatten(1).norm(dim=1)
    promise = {"contrast": contrast}
    if trials.strengths is not None:
        promise = {"multiplier": trials.strengths.flatten(), **promise}
    if trials.support is not None:
        promise = {"support": trials.support.flatten(), **promise}
    if len(trials.numbers) > 1:
        promise["agreement"] = -agreement(trials.candidates, metric).flatten()
    orders = {name: values.argsort(descending=True, stable=True) for name, values in promise.items()}
    orders["random"] = torch.randperm(len(contrast), generator=generator).to(contrast.device)
    return orders


def first_distinct(order: Tensor, pool: Tensor, metric: Metric, distance: float, count: int) -> Tensor:
    """(≤ count,) of the indices `order`: one after the other, but for those nearer than `distance` to one taken."""
    seen = features(pool, metric)
    shown, taken = seen.new_empty(count, seen.shape[1]), []
    for place in order.tolist():
        if len(taken) == count:
            break
        apart = (shown[: len(taken)] - seen[place]).square().mean(1)
        if (apart >= distance).all():
            shown[len(taken)] = seen[place]
            taken.append(place)
    return torch.tensor(taken, device=pool.device)
