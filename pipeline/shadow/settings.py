"""How shadow models are dealt and trained: the keys of `shadow_models:` in an experiment."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.data.settings import DataSet
from pipeline.fingerprint import digest_of
from pipeline.settings import Settings
from pipeline.weight_files import existing

INITIAL_WEIGHTS = "shadow_models.training.initial_weights"

Optimizer = Literal[
    "sgd", "adam", "adamw", "adamax", "adadelta", "adagrad", "asgd", "nadam", "radam", "rmsprop", "rprop"
]
"""What torch.optim offers that treats every weight by itself, so that many models can share one optimizer."""


class Restart(Settings):
    """Train again from a new initialisation until the final loss is low enough (CelebA)."""

    loss_below: PositiveFloat = Field(description="final loss that is low enough")
    attempts: PositiveInt = Field(default=100, description="after which training fails")


class Privacy(Settings):
    """DP-SGD with Poisson sampling. States the sampling itself: nothing is implied by a batch size."""

    clip_norm: PositiveFloat = Field(description="largest norm of an image's gradient")
    sample_rate: float = Field(gt=0, le=1, description="q: each image joins each step with this probability")
    steps: PositiveInt = Field(description="T: updates of the weights, whatever an epoch may be")
    noise_multiplier: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="σ: deviation of the noise in units of clip_norm; or give target_epsilon",
    )
    target_epsilon: PositiveFloat | None = Field(default=None, description="ε to be spent; the noise is found from it")
    delta: float | None = Field(default=None, gt=0, lt=1, description="N^-1.1 where it is not given")
    accountant: Literal["prv", "rdp", "gdp"] = Field(default="prv", description="how ε is worked out from the noise")

    @model_validator(mode="after")
    def _one_noise(self):
        if self.noise_multiplier is None and self.target_epsilon is None:
            raise ValueError("clip_norm without noise keeps nothing private: give noise_multiplier or target_epsilon")
        if self.noise_multiplier is not None and self.target_epsilon is not None:
            raise ValueError("noise_multiplier and target_epsilon determine each other: give one of them")
        return self


class Training(Settings):
    """One head's training: full-batch descent unless `batch_size` or `private` says otherwise."""

    classes: PositiveInt = Field(default=10, description="logits of the head; 1 means binary cross-entropy")
    hidden: PositiveInt | None = Field(default=None, description="width of a hidden ReLU layer; none = linear head")
    optimizer: Optimizer = Field(default="sgd", description="of torch.optim")
    learning_rate: float = Field(gt=0, le=1e6, description="of the optimizer")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(default=0.0, ge=0, description="of the optimizer")
    epochs: PositiveInt | None = Field(
        default=None, description="passes over the training set; private training has private.steps"
    )
    batch_size: PositiveInt | None = Field(
        default=None, description="images a step, always the same ones together; none = the whole set"
    )
    initial: Literal["normal", "pytorch_default", "zero"] = Field(
        default="normal",
        description="law of the initial weights: normal = N(0, init_std²), biases 0; pytorch_default = uniform within "
        "±1/√inputs, biases too, as nn.Linear draws them; zero = all 0",
    )
    init_std: PositiveFloat | None = Field(default=None, description="of initial: normal, which needs it")
    initial_weights: str | None = Field(
        default=None,
        description="a file with the initial weights themselves, known to the adversary: every shadow model starts "
        "from them, and what training has added to them is attacked",
    )
    positive_weight: PositiveFloat = Field(default=1.0, description="of the positive class in the loss of one logit")
    restart: Restart | None = None
    private: Privacy | None = None
    engine: Literal["auto", "opacus"] = Field(
        default="auto", description="opacus: the reference implementation of private training, one model at a time"
    )
    dtype: Literal["float32", "float64"] = Field(
        default="float32", description="of the arithmetic and of the weights kept"
    )

    @property
    def in_sample_space(self) -> bool:
        """Whether W'_T = α W'_0 + C X' (+ noise) holds and C is known: gradient descent, but not through Opacus."""
        return self.optimizer == "sgd" and self.engine == "auto"

    def initial_deviation(self, inputs: int) -> float:
        """Of a first-layer weight before training, as far as the adversary does not know it; `inputs`: D."""
        if self.initial_weights or self.initial == "zero":
            return 0.0
        return self.init_std if self.initial == "normal" else (3 * inputs) ** -0.5

    def identity(self) -> dict:
        """What trained weights depend on: never where a file lies, but what it holds."""
        described = self.model_dump(mode="json")
        if self.initial_weights:
            described["initial_weights"] = digest_of(existing(self.initial_weights, INITIAL_WEIGHTS))
        return described

    @model_validator(mode="after")
    def _possible(self):
        if self.private is None and self.epochs is None:
            raise ValueError("give epochs, or private.steps for private training")
        if self.initial == "normal" and self.init_std is None and self.initial_weights is None:
            raise ValueError(
                "init_std is missing: the deviation of `initial: normal`; or choose initial: pytorch_default or zero"
            )
        if self.initial_weights and (self.hidden or self.restart):
            raise ValueError("initial_weights are for a linear head (hidden: null) that is trained once")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer: sgd; {self.optimizer} has none to set")
        if self.weight_decay and self.optimizer == "rprop":
            raise ValueError("optimizer: rprop has no weight_decay")
        if self.positive_weight != 1 and self.classes > 1:
            raise ValueError(f"positive_weight needs classes: 1 (one logit); there are {self.classes}")
        if self.restart and self.hidden is None:
            raise ValueError(
                "restart needs a hidden layer: a linear head's loss is convex, a new initialisation ends no lower"
            )
        return self

    @model_validator(mode="after")
    def _privately_possible(self):
        if self.private is None:
            if self.engine == "opacus":
                raise ValueError(
                    "engine: opacus is the reference implementation of private training: give private, or engine: auto"
                )
            return self
        if self.epochs is not None:
            raise ValueError("private training is as long as private.steps says: set epochs: null")
        if self.batch_size is not None:
            raise ValueError(
                "batch_size says nothing about Poisson sampling: set batch_size: null and state "
                "private.sample_rate (q) and private.steps (T)"
            )
        if self.optimizer != "sgd":
            raise ValueError(f"private training is DP-SGD: optimizer must be sgd, not {self.optimizer}")
        if self.restart:
            raise ValueError(
                "restart cannot be combined with private training: it looks at the loss, and that costs privacy"
            )
        if self.engine == "opacus" and abs(1 / self.private.sample_rate - round(1 / self.private.sample_rate)) > 1e-9:
            raise ValueError(
                f"engine: opacus samples at 1, 1/2, 1/3, …; private.sample_rate is {self.private.sample_rate:g}"
            )
        return self


class ShadowModels(Settings):
    """Permutation seeds deal the training split into disjoint balanced sets; each set trains one head.

    source: shards = so many seeds, made once, kept in files and shown again and again; stream = made while the
    reconstructor trains, a fresh seed whenever one is used up; `seeds` of them then make the weights' statistics.
    """

    class_size: PositiveInt = Field(description="images a class in a training set")
    source: Literal["shards", "stream"] = Field(
        default="shards", description="shards: made once and kept; stream: made while the reconstructor trains"
    )
    data: DataSet | None = Field(default=None, description="another data set with random labels: out of distribution")
    seeds: PositiveInt = Field(description="permutation seeds of the training split; each is a shard")
    models_per_seed: PositiveInt = Field(description="disjoint training sets that each seed deals")
    test_models: PositiveInt = Field(description="victims, dealt from the test split")
    test_seeds: PositiveInt = Field(
        default=1, description="seeds that deal the test images anew, into test_models victims each; all are scored"
    )
    training: Training

    @model_validator(mode="after")
    def _enough_for_statistics(self):
        if self.seeds * self.models_per_seed < 2:
            raise ValueError("one shadow model has no deviation: seeds × models_per_seed must be at least 2")
        return self
