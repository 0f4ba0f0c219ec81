"""The statistics of LiRA and RMIA, of many images at once; the higher, the likelier a member."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LEAST_DEVIATION = 1e-4
"""Of log odds among shadow models: what never varies is still no proof."""


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """φ = log(p_y / (1 − p_y)) (M, N) of logits (M, K, N) and labels (M, N), from logits, so that nothing saturates.

    With one logit it is the logit itself, or its negative for label 0.
    """
    if logits.shape[1] == 1:
        return torch.where(labels > 0, logits[:, 0], -logits[:, 0])
    own = labels.unsqueeze(1)
    others = logits.scatter(1, own, -math.inf)
    return logits.gather(1, own)[:, 0] - others.logsumexp(1)


def lira_online(target: Tensor, members: Tensor, others: Tensor) -> Tensor:
    """log N(φ; in) − log N(φ; out): target (…), φ of shadow models with the image (…, S) and without it (…, S)."""
    return _log_density(target, members) - _log_density(target, others)


def lira_offline(target: Tensor, others: Tensor) -> Tensor:
    """How many deviations φ lies above that of shadow models without the image: 1 − p of a one-sided test grows with
    it."""
    return (target - others.mean(-1)) / _deviation(others)


def rmia(
    target: Tensor, members: Tensor, others: Tensor, population: Tensor, population_others: Tensor, gamma: float
) -> Tensor:
    """The share of population images z with [p(x|θ)/p(x)] / [p(z|θ)/p(z)] ≥ γ.

    target (…), members and others (…, S): log odds of x under the head and under shadow models with and without it, and
    p(x) is the mean of the two means. population (…, Z), population_others (Z, S): those of z, which none was trained
    on.
    """
    within, without = logsigmoid(members), logsigmoid(others)
    log_p_x = torch.stack([_log_mean(within), _log_mean(without)]).logsumexp(0) - math.log(2)
    ratio = logsigmoid(target) - log_p_x
    ratio_z = logsigmoid(population) - _log_mean(logsigmoid(population_others))
    return (ratio.unsqueeze(-1) - ratio_z >= math.log(gamma)).double().mean(-1)


def _log_density(values: Tensor, sample: Tensor) -> Tensor:
    """Up to the constant that all Gaussians share."""
    deviation = _deviation(sample)
    return -0.5 * ((values - sample.mean(-1)) / deviation).square() - deviation.log()


def _deviation(sample: Tensor) -> Tensor:
    return sample.std(-1, unbiased=False).clamp(min=LEAST_DEVIATION)


def _log_mean(logs: Tensor) -> Tensor:
    return logs.logsumexp(-1) - math.log(logs.shape[-1])
