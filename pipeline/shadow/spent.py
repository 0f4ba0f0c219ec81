"""What private training of the victims spent."""

import math

from pipeline.attack import Finished
from pipeline.errors import Failure
from pipeline.shadow import seeds


def epsilon(finished: Finished) -> float:
    """Of the victims, as their shard says: infinite without noise, NaN where there is no such shard."""
    if not finished.experiment.shadow_models.training.private:
        return math.inf
    try:
        victims = finished.shards_of("shadow_models", [seeds.VICTIMS])
    except Failure:
        return math.nan
    return round(float(victims.attributes(seeds.VICTIMS)["epsilon"]), 3)
