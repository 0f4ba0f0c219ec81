"""Hyper-parameters of a search's trials, and which trials go on."""

import torch
from torch import Tensor

from pipeline.kkt.settings import SEARCHED, AttackSettings, Range, SearchSettings
from pipeline.randomness import numpy_generator


def hyperparameters(attack: AttackSettings, search: SearchSettings, trial: int, seed: int) -> dict[str, float]:
    """The searched keys of `attack` for trial `trial`: row `trial` of a scrambled Sobol sequence, or the attack's own.

    Rows do not depend on how many are drawn, so that any machine can run any trial and a longer search extends a
    shorter one.
    """
    from scipy.stats import qmc

    values = {name: getattr(attack, name) for name in SEARCHED}
    if search.ranges:
        sequence = qmc.Sobol(len(search.ranges), seed=numpy_generator(seed, "kkt search"))
        if trial:  # scipy refuses to go forward by nothing
            sequence.fast_forward(trial)
        row = sequence.random(1)[0]
        values |= {name: placed(one, share) for (name, one), share in zip(search.ranges.items(), row, strict=True)}
    return values


def placed(one: Range, share: float) -> float:
    """The value at `share` in [0, 1) of the way through a range."""
    if one.choice:
        return one.choice[int(share * len(one.choice))]
    low, high = one.uniform or one.log_uniform
    return low + (high - low) * share if one.uniform else low * (high / low) ** share


def better_half(losses: Tensor) -> Tensor:
    """Places of the lower half (rounded up) of losses (T,), in rising order."""
    return losses.argsort(stable=True)[: (len(losses) + 1) // 2].sort().values


def sound(losses: Tensor) -> Tensor:
    """Places of the losses (T,) that are finite."""
    return torch.isfinite(losses).nonzero()[:, 0]
