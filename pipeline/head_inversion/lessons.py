"""Which shadow models teach to invert heads, and to decode what head inversion recovers."""

from typing import TYPE_CHECKING

from pipeline.head_inversion.settings import inverts_heads
from pipeline.shadow import seeds

if TYPE_CHECKING:
    from pipeline.config import Experiment


def first_seed(experiment: "Experiment") -> str:
    """The first of the permutation seeds that teach: of augmented images where there are such."""
    augmented = inverts_heads(experiment) and experiment.head_inversion.augmentation
    return seeds.augmented_seed(0) if augmented else seeds.training_seed(0)


def seeds_by_features(experiment: "Experiment") -> dict[str, str]:
    """Shard of deep_features → the first seed that deals its images: those that shadow models train on, augmented
    copies of them where head inversion learns from such, and the test split that victims come from."""
    if not experiment.shadow_models:
        return {}
    named = (seeds.training_seed(0), first_seed(experiment), seeds.VICTIMS)
    return {seeds.features_of(experiment, seed): seed for seed in named}


def inputs(experiment: "Experiment") -> list[str]:
    """What a stage that learns from shadow models reads for them."""
    first = first_seed(experiment)
    if first.startswith("train"):
        return seeds.inputs(experiment)
    return [f"deep_features/{seeds.features_of(experiment, first)}"]


def identity(experiment: "Experiment") -> dict:
    """What the result of such a stage depends on besides its inputs."""
    first = first_seed(experiment)
    if first.startswith("train"):
        return seeds.stream_identity(experiment)
    return {"stream": seeds.identity(experiment, first)}
