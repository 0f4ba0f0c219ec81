"""What private training of the victims spent."""

import math

from pipeline.attack import Finished
from pipeline.errors import Failure
from pipeline.shadow import seeds

SYMBOLS = {"delta": "δ", "noise_multiplier": "σ", "sample_rate": "q", "steps": "T", "clip_norm": "clip norm"}
"""What ε means nothing without: attribute of a private shard → how it is called."""


def guarantee(finished: Finished) -> dict[str, float]:
    """Of the victims, as their shard says: epsilon and what SYMBOLS names; empty without noise or such a shard."""
    if not finished.experiment.shadow_models.training.private:
        return {}
    try:
        record = finished.shards_of("shadow_models", [seeds.VICTIMS]).attributes(seeds.VICTIMS)
    except Failure:
        return {}
    return {name: round(float(record[name]), 4) for name in ("epsilon", *SYMBOLS) if name in record}


def epsilon(finished: Finished) -> float:
    """Infinite without noise, NaN where there is no shard that says it."""
    if not finished.experiment.shadow_models.training.private:
        return math.inf
    return guarantee(finished).get("epsilon", math.nan)
