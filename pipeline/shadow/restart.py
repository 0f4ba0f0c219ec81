"""Heads whose loss stays high train again from fresh weights, all of a block at once (CelebA's dead ReLUs)."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import Failure
from pipeline.shadow.heads import Head, forward
from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training


def restart_while_high(
    head: Head,
    engine: Callable,
    features: Tensor,
    targets: Targets,
    weights: Tensor,
    training: Training,
    generator: torch.Generator,
    first_model: int,
    coefficients_out: Tensor | None = None,
) -> None:
    """Replaces trained weights (M, P) until every model's loss on its set is below `restart.loss_below`.

    The first training counts as an attempt; only the unfinished go on, and their rows of `coefficients_out` (M, R, N)
    with them. Raises Failure, naming a model that never gets there in `restart.attempts`; `first_model` is the number
    of the block's first.
    """
    restart = training.restart
    unfinished, trained = torch.arange(len(weights), device=weights.device), weights
    for attempt in range(1, restart.attempts + 1):
        low = targets.mean_loss(forward(head.split(trained), features)) < restart.loss_below
        if low.all():
            return
        if attempt == restart.attempts:
            break
        unfinished, features, targets = unfinished[~low], features[~low], targets[~low]
        trained = weights.new_empty(len(unfinished), head.size)
        head.draw_initial(trained, training, generator)
        carried = {}
        if coefficients_out is not None:
            carried["coefficients_out"] = coefficients_out.new_empty(len(unfinished), *coefficients_out.shape[1:])
        engine(features, targets, head.split(trained), **carried)
        weights[unfinished] = trained
        if coefficients_out is not None:
            coefficients_out[unfinished] = carried["coefficients_out"]
    raise Failure(
        f"model {first_model + unfinished[~low][0].item()}: its loss is not below {restart.loss_below:g} after "
        f"{restart.attempts} attempts; raise restart.loss_below, restart.attempts or epochs"
    )
