"""The trials of a search, merged: all their candidates, and which of them are judged."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import Failure
from pipeline.kkt.analysis.settings import TrialSelection
from pipeline.store import Shards


@dataclass(frozen=True)
class Trials:
    """T trials that came to the end: `numbers` (T,), `candidates` (T, m, C, H, W), centred, with `labels` (m,);
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
    """All trials of the attack's shards; raises Failure when none came to the end, or one is not finite."""
    labels = shards.read(shards.names[0], "labels")["labels"]
    apart = ("history/", "snapshot/")
    names = [name for name in shards.read(shards.names[0]) if name != "labels" and not name.startswith(apart)]
    arrays = {name: torch.as_tensor(values) for name, values in shards.concatenated(*names).items()}
    if not len(arrays["trials"]):
        raise Failure(
            "kkt_attack: no trial came to the end, all diverged or were stopped; lower the learning rates of kkt.attack"
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
