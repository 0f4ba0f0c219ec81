"""How shadow models are dealt and trained: the keys of `shadow_models:` in an experiment."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.settings import Settings


class Restart(Settings):
    """Train again from a new initialisation until the final loss is low enough (CelebA)."""

    loss_below: PositiveFloat
    attempts: PositiveInt = 100


class Privacy(Settings):
    """DP-SGD with Poisson sampling. States the sampling itself: nothing is implied by a batch size."""

    clip_norm: PositiveFloat
    sample_rate: float = Field(gt=0, le=1)
    steps: PositiveInt
    noise_multiplier: PositiveFloat | None = None
    target_epsilon: PositiveFloat | None = None
    delta: float | None = Field(default=None, gt=0, lt=1, description="N^-1.1 where it is not given")
    accountant: Literal["prv", "rdp", "gdp"] = "prv"

    @model_validator(mode="after")
    def _one_noise(self):
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            raise ValueError("give exactly one of noise_multiplier and target_epsilon")
        return self


class Training(Settings):
    """One head's training: full-batch descent unless `batch_size` or `private` says otherwise."""

    classes: PositiveInt = Field(default=10, description="logits of the head; 1 means binary cross-entropy")
    hidden: PositiveInt | None = Field(default=None, description="width of a hidden ReLU layer; none = linear head")
    optimizer: str = "sgd"
    learning_rate: PositiveFloat
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: PositiveInt | None = None
    batch_size: PositiveInt | None = Field(default=None, description="fixed membership; none = the whole set")
    init_std: PositiveFloat
    positive_weight: PositiveFloat = 1.0
    restart: Restart | None = None
    private: Privacy | None = None
    engine: Literal["auto", "opacus"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"

    @model_validator(mode="after")
    def _one_length(self):
        if (self.epochs is None) == (self.private is None):
            raise ValueError("give epochs, or private.steps with epochs: null")
        return self


class ShadowModels(Settings):
    """Permutation seeds deal the training split into disjoint balanced sets; each set trains one head."""

    class_size: PositiveInt
    seeds: PositiveInt
    models_per_seed: PositiveInt
    test_models: PositiveInt
    training: Training
