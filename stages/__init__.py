"""The steps of an experiment, one per file. A stage is data and one function; none imports another.

Modules that need torch are imported inside `run` and `check`, so that asking for the state of 2,000 shards does not
wait for it.
"""

from importlib import import_module

from stages.stage import Stage

NAMES = (
    "pretrain",
    "deep_features",
    "nearest_neighbour",
    "shadow_models",
    "weight_stats",
    "head_inversion",
    "reconstructor",
    "min_mse",
    "roc",
    "audit",
    "card",
    "gradient_inversion",
    "kkt_victim",
    "kkt_attack",
    "kkt_analysis",
    "report",
)
"""In an order in which every stage stands after those it reads."""


def stage_named(name: str) -> Stage:
    return import_module(f"stages.{name}").STAGE
