"""Problem, victim, attack and search: the keys of `kkt:` in an experiment."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Strict, model_validator

from pipeline import located
from pipeline.errors import UserError
from pipeline.fingerprint import digest_of
from pipeline.kkt.analysis.settings import AnalysisSettings
from pipeline.settings import Integers, Settings

TOYS = ("red_blue", "red_blue_pure", "spiral", "grid_chess", "grid_random", "grid_linear")
LOSSES = {
    "binary": ("logistic",),
    "multiclass": ("cross_entropy",),
    "regression": ("mse", "huber"),
}
"""The losses a victim may learn each kind of problem by; the first is its default."""

Dtype = Literal["float32", "float64"]


class ProblemSettings(Settings):
    """Which images the victim learns, and to tell what. `labels` says how the data's own labels become its classes."""

    labels: Literal[
        "classes",
        "odd_even",
        "vehicles_animals",
        "red_blue",
        "red_blue_pure",
        "spiral",
        "grid_chess",
        "grid_random",
        "grid_linear",
    ] = Field(description="from the data's labels to the classes of the problem, or a toy that draws its own points")
    kind: Literal["binary", "multiclass", "regression"] = Field(default="binary", description="what the network learns")
    images_per_class: PositiveInt = Field(description="the victim is trained on")
    choice: Literal["first", "random"] = Field(
        default="first", description="first of each class in file order, which is kept; or drawn by the seed"
    )
    validation_per_class: NonNegativeInt = Field(
        default=0, description="images of the train split, next after those learnt, to watch the victim on"
    )
    held_out_per_class: PositiveInt | None = Field(
        default=None, description="first images of each class of the test split; none = the whole split"
    )
    subtract_mean: bool = Field(
        default=True, description="take the mean of the images learnt off every image before a network sees it"
    )

    @property
    def is_toy(self) -> bool:
        """Whether its points are drawn rather than read from data."""
        return self.labels in TOYS

    @model_validator(mode="after")
    def _two_classes(self):
        if self.labels == "classes" and self.kind != "multiclass":
            raise ValueError(f"labels: classes are as many as the data has; kind: {self.kind} tells two apart")
        return self


class Convolution(Settings):
    """A convolution without padding unless it says so; its activation follows it."""

    channels: PositiveInt = Field(description="that it makes")
    kernel: PositiveInt = Field(default=3, description="side, in pixels")
    stride: PositiveInt = Field(default=1, description="in pixels")
    padding: int = Field(default=0, ge=0, description="zeros on each side")


class NetworkSettings(Settings):
    """Convolutions, then fully connected layers.

    `bias`: of the first layer alone, or of all hidden layers, which then are not homogeneous any more; the last layer
    has none. `init_std`: the first layer's weights and bias are normal with this deviation; of a list, one number for
    each layer, every layer's weights are, and the first layer's bias. The rest, and all of null, is PyTorch's default,
    uniform within ±1/√inputs.
    """

    convolutions: Annotated[tuple[Convolution, ...], Strict(False)] = Field(
        default=(), description="before the fully connected layers"
    )
    hidden: Integers = Field(default=(1000, 1000), description="units of each fully connected layer before the last")
    activation: Literal["relu", "leaky_relu", "gelu", "sigmoid", "tanh"] = Field(
        default="relu", description="behind every layer but the last"
    )
    bias: Literal["first", "hidden"] = Field(
        default="first", description="of the first layer alone, or of all hidden layers"
    )
    init_std: PositiveFloat | Annotated[tuple[PositiveFloat | None, ...], Strict(False)] | None = Field(
        default=1e-4, description="deviation of the initial weights: of the first layer, or a list for all layers"
    )

    @model_validator(mode="after")
    def _at_least_one(self):
        if not (self.hidden or self.convolutions) or any(width < 1 for width in self.hidden):
            raise ValueError("hidden lists widths of 1 or more; a network needs a layer before its last")
        layers = len(self.convolutions) + len(self.hidden) + 1
        if isinstance(self.init_std, tuple) and len(self.init_std) != layers:
            raise ValueError(f"init_std lists {len(self.init_std)} numbers; this network has {layers} layers")
        return self

    def deviation(self, layer: int) -> float | None:
        """Of the normal law that the weights of layer 0, 1, … start from; None = PyTorch's default."""
        if isinstance(self.init_std, tuple):
            return self.init_std[layer]
        return self.init_std if layer == 0 else None

    def convolved(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """`shape` (C, H, W), and what it becomes by each convolution; raises UserError where nothing is left."""
        shapes = [tuple(shape)]
        for one in self.convolutions:
            height, width = ((side + 2 * one.padding - one.kernel) // one.stride + 1 for side in shapes[-1][1:])
            if min(height, width) < 1:
                raise UserError(
                    f"kkt.victim.network: nothing is left of a {shape[1]}×{shape[2]} image after a convolution"
                )
            shapes.append((one.channels, height, width))
        return shapes

    def multiplications(self, shape: Sequence[int]) -> int:
        """Of one image (C, H, W), on its way to the last hidden layer."""
        shapes = self.convolved(shape)
        convolutions = zip(self.convolutions, shapes, shapes[1:], strict=False)
        widths = [math.prod(shapes[-1]), *self.hidden]
        return sum(one.kernel**2 * before[0] * math.prod(after) for one, before, after in convolutions) + sum(
            inputs * units for inputs, units in pairwise(widths)
        )


class VictimSettings(Settings):
    """How the victim is trained to a loss near zero: on all images at once, or `batch_size`, shuffled for each epoch.

    gradient_descent: `steps` updates with `learning_rate`, as published. flow: gradient descent on the logarithm of the
    loss L, each step so long that log L falls by about `decrease` and at most `learning_rate`, until the time of the
    gradient flow on L, Σ step/L, reaches `flow_time` (of plain descent: learning rate × epochs).
    """

    network: NetworkSettings = NetworkSettings()
    loss: Literal["logistic", "cross_entropy", "mse", "huber"] | None = Field(
        default=None, description="none = logistic, cross_entropy or mse, by the kind of problem"
    )
    method: Literal["flow", "gradient_descent"] = Field(
        default="flow", description="flow along the log-loss, or plain descent"
    )
    learning_rate: PositiveFloat = Field(default=0.05, description="longest step")
    steps: PositiveInt = Field(default=20_000, description="at most")
    decrease: PositiveFloat = Field(default=0.02, description="of the log-loss in one step of the flow")
    flow_time: PositiveFloat = Field(default=1e4, description="at which the flow ends")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="of plain descent")
    weight_decay: NonNegativeFloat = Field(default=0.0, description="of plain descent")
    batch_size: PositiveInt | None = Field(default=None, description="images of a step; none = all of them")
    stop_loss: PositiveFloat = Field(default=1e-40, description="loss at which training ends")
    snapshot_every: PositiveInt | None = Field(default=None, description="steps between weights that are kept")
    weights: str | None = Field(default=None, description="a state dict (.pth) to attack instead of training one")
    dtype: Dtype = Field(default="float64", description="of the arithmetic")
    threads: PositiveInt = Field(default=1, description="CPU threads: part of the result, since sums depend on it")

    @model_validator(mode="after")
    def _flow_is_plain(self):
        if self.method == "flow" and (self.momentum or self.weight_decay or self.batch_size):
            raise ValueError("momentum, weight_decay and batch_size belong to method: gradient_descent")
        return self

    def weights_digest(self) -> str | None:
        """SHA-256 of the file of weights, by which results know it."""
        if self.weights is None:
            return None
        path: Path = located(self.weights)
        if not path.is_file():
            raise UserError(f"kkt.victim.weights: {path} does not exist; remove the key to train a victim instead")
        return digest_of(path)


class StopSettings(Settings):
    """Stops trials whose candidates are not near any training image, as the published programs do.

    The distance, summed over pixels, is the mean of the ten least between a candidate and its nearest training image,
    each image counted once. It needs the training images, so it saves an experimenter's time and is no adversary's.
    """

    after: PositiveInt = Field(default=5000, description="iterations that every trial is given")
    above: PositiveFloat = Field(default=3300.0, description="distance from which a trial is stopped")
    metric: Literal["ncc", "l2"] | None = Field(default=None, description="none = l2 for grey images, else ncc")


class AttackSettings(Settings):
    """The search for candidates x and multipliers λ that satisfy the stationarity condition.

    binary: λ ≥ 0, one logit. runner_up: λ ≥ 0, margin over the strongest other class, as published. full: one λ ≥ 0 for
    each other class. general: λ of free sign (regression; any loss with weight decay). naive: logits alone.
    separation: no condition and no descent, but independent components of the first layer's row space (separation.py),
    by at most `iterations` steps; of the other keys it knows initial_weights, dtype, stack and threads.
    """

    loss: Literal["binary", "runner_up", "full", "general", "naive", "separation"] | None = Field(
        default=None, description="none = binary, runner_up or general, by the kind of problem"
    )
    candidates: PositiveInt | None = Field(
        default=None,
        description="m, half of them of each class (binary), or an equal share of each; separation finds their number",
    )
    iterations: PositiveInt = Field(description="steps of the optimizer")
    optimizer: Literal["sgd", "adam"] = Field(default="adam", description="sgd: with momentum 0.9")
    schedule: Literal["constant", "cosine"] = Field(default="cosine", description="of both learning rates")
    learning_rate: PositiveFloat = Field(default=0.02, description="of the candidates")
    multiplier_learning_rate: PositiveFloat = Field(default=0.05, description="of the multipliers")
    init_std: PositiveFloat = Field(default=0.01, description="σ of the first candidates")
    minimum_multiplier: NonNegativeFloat = Field(default=0.1, description="λ_min: smaller ones are penalised")
    activation: Literal["relu", "plain_relu", "leaky_relu", "gelu", "sigmoid", "tanh"] | None = Field(
        default=None,
        description="in place of the victim's; plain_relu = ReLU with a step for its derivative; none = the victim's",
    )
    relu_sharpness: PositiveFloat = Field(default=50.0, description="α: the derivative of ReLU is taken as σ(αz)")
    gradient: Literal["closed_form", "autograd"] | None = Field(
        default=None, description="none = closed form for fully connected victims, autograd for convolutions"
    )
    initial_weights: bool = Field(
        default=False, description="separation: the weights that training started from are known as well"
    )
    stop: StopSettings | None = None
    snapshot_every: PositiveInt | None = Field(default=None, description="iterations between candidates that are kept")
    stack: PositiveInt = Field(default=1, description="trials that one shard works on together")
    dtype: Dtype = Field(default="float32", description="of the arithmetic")
    matmul_precision: Literal["verified", "highest", "high", "medium"] = Field(
        default="verified", description="of float32; verified = the fastest that is as exact as highest on this device"
    )
    threads: PositiveInt = Field(default=1, description="CPU threads: part of the result, since sums depend on it")


SEARCHED = ("learning_rate", "multiplier_learning_rate", "init_std", "minimum_multiplier", "relu_sharpness")


class Range(Settings):
    """Where a search looks for a value: exactly one of the three."""

    uniform: Annotated[tuple[float, float], Strict(False)] | None = Field(default=None, description="[low, high]")
    log_uniform: Annotated[tuple[PositiveFloat, PositiveFloat], Strict(False)] | None = Field(
        default=None, description="[low, high], uniform in the logarithm"
    )
    choice: Annotated[tuple[float, ...], Strict(False)] | None = Field(
        default=None, min_length=1, description="a list of values"
    )

    @model_validator(mode="after")
    def _one_of_three(self):
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give one of uniform: [low, high], log_uniform: [low, high], choice: [values]")
        interval = self.uniform or self.log_uniform
        if interval and not interval[0] < interval[1]:
            raise ValueError(f"{given[0]} is [low, high] with low < high")
        if min(getattr(self, given[0])) < 0:
            raise ValueError("values must not be negative")
        return self


class SearchSettings(Settings):
    """How many trials, and which keys of `attack` each draws: trial k is row k of a scrambled Sobol sequence.

    `halve_at`: iterations at which the better half of a stack of trials goes on, by the attack's own loss.
    """

    trials: Annotated[int, Field(gt=0, le=100_000)] = Field(
        default=1, description="of the attack, each with values of its own"
    )
    ranges: dict[str, Range] = Field(default_factory=dict, description="key of `attack` → where its values are drawn")
    halve_at: Integers = Field(
        default=(), description="iterations at which the better half of a stack of trials goes on"
    )

    @model_validator(mode="after")
    def _known(self):
        if unknown := [name for name in self.ranges if name not in SEARCHED]:
            raise ValueError(f"ranges.{unknown[0]}: a search draws {', '.join(SEARCHED)}")
        if list(self.halve_at) != sorted(set(self.halve_at)) or any(at < 1 for at in self.halve_at):
            raise ValueError("halve_at lists iterations in rising order")
        return self


class Kkt(Settings):
    """A victim trained from scratch, and the attack on its weights."""

    problem: ProblemSettings
    victim: VictimSettings = VictimSettings()
    attack: AttackSettings | None = None
    search: SearchSettings = SearchSettings()
    analysis: AnalysisSettings = AnalysisSettings()

    @property
    def victim_loss(self) -> str:
        return self.victim.loss or LOSSES[self.problem.kind][0]

    @property
    def attack_loss(self) -> str:
        return (
            self.attack.loss
            or {"binary": "binary", "multiclass": "runner_up", "regression": "general"}[self.problem.kind]
        )

    @property
    def attack_gradient(self) -> str:
        if self.attack_loss == "separation":
            return "separation"
        by_autograd = self.victim.network.convolutions or self.attack_loss == "naive"
        return self.attack.gradient or ("autograd" if by_autograd else "closed_form")

    @model_validator(mode="after")
    def _consistent(self):
        kind = self.problem.kind
        if self.victim_loss not in LOSSES[kind]:
            raise ValueError(f"victim.loss is {self.victim.loss}; for kind: {kind} choose {', '.join(LOSSES[kind])}")
        if self.attack is None:
            return self
        if self.attack_loss == "separation":
            return self._separates()
        if self.attack.initial_weights:
            raise ValueError("attack.initial_weights is for attack.loss: separation")
        if self.attack.candidates is None:
            raise ValueError("attack.candidates is missing; only attack.loss: separation finds their number itself")
        several = self.attack_loss in ("runner_up", "full")
        if self.attack_loss != "naive" and several != (kind == "multiclass"):
            valid = "runner_up, full or naive" if kind == "multiclass" else "binary, general or naive"
            raise ValueError(f"attack.loss is {self.attack.loss}; for kind: {kind} choose {valid}")
        if self.attack.gradient == "closed_form" and (self.victim.network.convolutions or self.attack_loss == "naive"):
            raise ValueError("attack.gradient: closed_form is for fully connected victims and multipliers")
        if self.search.halve_at and (self.attack.stack == 1 or self.search.halve_at[-1] >= self.attack.iterations):
            raise ValueError("search.halve_at needs attack.stack above 1, and lies before attack.iterations")
        return self

    def _separates(self):
        if self.attack.candidates is not None:
            raise ValueError("attack.candidates: separation finds their number itself; leave it out")
        if self.search.ranges or self.search.halve_at:
            raise ValueError("search.ranges and halve_at: trials of separation differ in their random start alone")
        if self.problem.is_toy:
            raise ValueError("attack.loss: separation compares neighbouring pixels, which toys have none of")
        if self.victim.network.convolutions:
            raise ValueError("attack.loss: separation is for fully connected victims; a convolution mixes patches")
        if self.attack.initial_weights and self.victim.weights:
            raise ValueError("attack.initial_weights: what victim.weights of a file started from is not known")
        return self
