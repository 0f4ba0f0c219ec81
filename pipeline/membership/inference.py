"""Membership scores of every victim's images, on its own head and on heads that never saw them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.membership.attacks import lira_offline, lira_online, rmia
from pipeline.membership.settings import Attack, Membership
from pipeline.membership.shadows import Base, odds_under, own_odds
from pipeline.shadow.heads import Head


@dataclass(frozen=True)
class Evidence:
    """What the adversary knows of V victims' N images before it looks at a head: log odds φ of the right class.

    features (V, N, D) and labels (V, N) of the images; members, others (V, N, S): φ under shadow models with and
    without each; population (Z, D) and population_labels (Z,): images that none was trained on, and population_others
    (Z, S), φ of those.
    """

    head: Head
    features: Tensor
    labels: Tensor
    members: Tensor
    others: Tensor
    population: Tensor
    population_labels: Tensor
    population_others: Tensor

    @classmethod
    def of(
        cls, head: Head, base: Base, images: tuple[Tensor, Tensor], members: Tensor, population: tuple[Tensor, Tensor]
    ) -> "Evidence":
        """Of (features, labels) of the victims' images and of the population, given φ with each image."""
        features, labels = images
        others = odds_under(head, base.weights, features.flatten(0, 1), labels.flatten()).T.reshape(members.shape)
        return cls(head, *images, members, others, *population, odds_under(head, base.weights, *population).T)

    def scores(self, heads_of: Callable[[int], Tensor], asked: Membership) -> dict[Attack, np.ndarray]:
        """Attack → (V, N): image n of victim v on head n of heads_of(v) (N, P); the higher, the likelier a member."""
        rows = [self._scores_of(victim, heads_of(victim), asked) for victim in range(len(self.labels))]
        return {name: torch.stack([row[name] for row in rows]).double().cpu().numpy() for name in asked.attacks}

    def _scores_of(self, victim: int, heads: Tensor, asked: Membership) -> dict[Attack, Tensor]:
        features, labels = self.features[victim].unsqueeze(1), self.labels[victim].unsqueeze(1)
        target = own_odds(self.head, heads, features, labels)[:, 0]
        members, others = self.members[victim], self.others[victim]
        found = {}
        for name in asked.attacks:
            if name == "lira_online":
                found[name] = lira_online(target, members, others)
            elif name == "lira_offline":
                found[name] = lira_offline(target, others)
            else:
                odds = odds_under(self.head, heads, self.population, self.population_labels)
                found[name] = rmia(target, members, others, odds, self.population_others, asked.gamma)
        return found
