"""How often candidates identify a training image among unlearnt ones: a rate whose chance level is known.

A training image is identified when its match scores higher than the matches of all k decoys: images of its class, from
the same split, that the victim did not learn, each matched with the same candidates by the same procedure. Were it
unlearnt itself, that would happen with probability 1/(k + 1), whatever the candidates and however easy images of its
class are. Every image has decoys of its own, so given the candidates these events are independent and their number
binomial: Clopper and Pearson's interval holds exactly. As a check, one more unlearnt image stands in for each training
image, before the same decoys; candidates independent of the victim are another. (The mean image is made of the
training images: where they are few, it identifies more than chance.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from pipeline.errors import UserError

MOST_DECOYS = 49


@dataclass(frozen=True)
class Rate:
    """`count` of `total`, with Clopper and Pearson's 95 % interval."""

    count: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: Tensor) -> "Rate":
        interval = binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(0.95, "exact")
        return cls(int(outcomes.sum()), len(outcomes), float(interval.low), float(interval.high))

    @property
    def value(self) -> float:
        return self.count / self.total


@dataclass(frozen=True)
class Identification:
    """Which training images are identified (n,), which of their stand-ins are (n,), among k decoys each."""

    identified: Tensor
    stand_in_identified: Tensor
    decoys: int

    @property
    def chance(self) -> float:
        return 1 / (self.decoys + 1)

    def is_above(self, nulls: Sequence["Identification"] = ()) -> bool:
        """Whether the rate's interval lies above 1/(k + 1), the rate of the stand-ins, and the rates of the nulls."""
        others = [Rate.of(self.stand_in_identified), *(Rate.of(null.identified) for null in nulls)]
        return Rate.of(self.identified).low > max(self.chance, *(rate.value for rate in others))


def decoys_available(labels: Tensor, unlearnt_labels: Tensor) -> int:
    """How many decoys every image can have of its own, beside a stand-in; the scarcest class decides."""
    return min(
        int((unlearnt_labels == label).sum()) // int((labels == label).sum()) - 1 for label in labels.unique().tolist()
    )


def deal(labels: Tensor, unlearnt_labels: Tensor, decoys: int | None, generator: torch.Generator) -> Tensor | None:
    """(n, 1 + k) indices of unlearnt images of each training image's class, none twice: a stand-in, then the decoys.

    With `decoys` none, k is as many as there are, up to 49; None when there is none. Raises UserError when there are
    fewer than asked for.
    """
    available = decoys_available(labels, unlearnt_labels)
    if decoys is not None and decoys > available:
        raise UserError(
            f"kkt.analysis.decoys is {decoys}; there are unlearnt images for {max(available, 0)} at most "
            f"({len(labels)} training images, {len(unlearnt_labels)} others); leave it out to take as many as there are"
        )
    count = decoys or min(available, MOST_DECOYS)
    if count < 1:
        return None
    dealt = torch.empty((len(labels), 1 + count), dtype=torch.int64)
    for label in labels.unique().tolist():
        rows, pool = (labels == label).nonzero()[:, 0], (unlearnt_labels == label).nonzero()[:, 0]
        order = torch.randperm(len(pool), generator=generator)[: len(rows) * (1 + count)]
        dealt[rows] = pool[order].view(len(rows), 1 + count)
    return dealt


def identify(scores: Tensor, others: Tensor) -> Identification:
    """`scores` (n,) of the training images' matches, and of those of their stand-in and k decoys (n, 1 + k).

    Higher is better; of equals none is identified. NaN (an image without a candidate) never wins.
    """
    best_decoy = others[:, 1:].nan_to_num(-torch.inf).amax(1)
    return Identification(scores > best_decoy, others[:, 0] > best_decoy, others.shape[1] - 1)
