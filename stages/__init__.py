"""The steps of an experiment, one per file. A stage is data and one function; none imports another.

Modules that need torch are imported inside `run` and `check`, so that asking for the state of 2,000 shards does not
wait for it.
"""

from importlib import import_module

from pipeline.attacks import ATTACKS
from stages.stage import Stage

SHARED = ("pretrain", "deep_features", "nearest_neighbour", "shadow_models", "weight_stats")
"""What several attacks may read."""

NAMES = (*SHARED, *(stage for attack in ATTACKS for stage in attack.stages), "report")
"""In an order in which every stage stands after those it reads."""


def stage_named(name: str) -> Stage:
    return import_module(f"stages.{name}").STAGE
