"""The trials of a search, merged; which of them are scored; what an adversary without the training set would show."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import Failure
from pipeline.kkt.analysis.neighbours import features, nearest
from pipeline.kkt.analysis.settings import Metric, TrialSelection
from pipeline.store import Shards


@dataclass(frozen=True)
class Trials:
    """T trials that were finished: `numbers` (T,), `candidates` (T, m, C, H, W), centred, with `labels` (m,);
    `strengths` (T, m), how much each counts: |λ|, or its sum over classes (none: the attack had no multipliers);
    `terms` and `hyperparameters`: name → (T,). `support` (T, m) of components (separation.py), where they are such.
    """

    numbers: Tensor
    candidates: Tensor
    labels: Tensor
    strengths: Tensor | None
    terms: Mapping[str, Tensor]
    hyperparameters: Mapping[str, Tensor]
    support: Tensor | None = None

    def part(self, places: Tensor) -> "Trials":
        """The trials at `places` (P,)."""
        return Trials(
            self.numbers[places],
            self.candidates[places],
            self.labels,
            None if self.strengths is None else self.strengths[places],
            {name: values[places] for name, values in self.terms.items()},
            {name: values[places] for name, values in self.hyperparameters.items()},
            None if self.support is None else self.support[places],
        )

    @property
    def pool(self) -> Tensor:
        """(T·m, C, H, W): the candidates of all trials, one trial after the other."""
        return self.candidates.flatten(0, 1)


def merged(shards: Shards, device: torch.device) -> Trials:
    """All trials of the attack's shards; raises Failure when none was finished, or one holds NaN or infinity."""
    labels = shards.read(shards.names[0], "labels")["labels"]
    apart = ("history/", "snapshot/")
    names = [name for name in shards.read(shards.names[0]) if name != "labels" and not name.startswith(apart)]
    arrays = {name: torch.as_tensor(values) for name, values in shards.concatenated(*names).items()}
    if not len(arrays["trials"]):
        raise Failure(
            "kkt_attack: no trial was finished, all diverged or were stopped; lower the learning rates of kkt.attack"
        )
    sound = torch.isfinite(arrays["candidates"]).flatten(1).all(1)
    if not sound.all():
        raise Failure(
            f"kkt_attack: candidates of trial {int(arrays['trials'][~sound][0])} are not finite; remove its shard and "
            "lower the learning rates of kkt.attack"
        )
    multipliers = arrays.get("multipliers")
    if multipliers is not None:
        multipliers = multipliers.abs().flatten(2).sum(2) if multipliers.ndim == 3 else multipliers.abs()

    def under(kind: str) -> dict[str, Tensor]:
        return {name.removeprefix(kind): values for name, values in arrays.items() if name.startswith(kind)}

    return Trials(
        arrays["trials"],
        arrays["candidates"].to(device),
        torch.as_tensor(labels).to(device),
        None if multipliers is None else multipliers.to(device),
        under("terms/"),
        under("hyperparameters/"),
        arrays["support"].to(device) if "support" in arrays else None,
    )


def chosen(selection: TrialSelection, measures: Mapping[str, Tensor]) -> Tensor:
    """Places (P,), rising, of the trials that are judged. `measures`: loss, agreement (low is good) and hits, (T,)."""
    if selection.by == "all":
        return torch.arange(len(measures["loss"]))
    least_first = -measures["hits"] if selection.by == "training_set" else measures[selection.by]
    return least_first.argsort(stable=True)[: selection.keep].sort().values


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
