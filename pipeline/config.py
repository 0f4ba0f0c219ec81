"""The experiment: one YAML file that fixes everything a result depends on.

`extends:` names a file (or several, later ones win) whose keys are taken over first; mappings merge, all else is
replaced. `--set a.b=c` changes one key, with `c` read as YAML. `grid:` makes it a study of many points, each an
experiment. Whatever is unknown or of the wrong type is refused in one line that names file, key and valid choices.
"""

import difflib
import itertools
import os
import shlex
import types
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from pipeline import as_typed, located
from pipeline.audit.settings import Subject
from pipeline.data.settings import DataSet, Task
from pipeline.errors import UserError
from pipeline.evaluation.settings import Evaluation
from pipeline.gradient_inversion.settings import GradientInversion
from pipeline.head_inversion.settings import HeadInversion
from pipeline.kkt.settings import Kkt
from pipeline.layers import Layer, find, grid_points, layers_of, merge, override_layer
from pipeline.networks.settings import Backbone, Pretrain
from pipeline.reconstruction.settings import Reconstructor
from pipeline.settings import Settings, Strings
from pipeline.shadow.settings import ShadowModels

MAX_MEMORY_GB, MAX_SECONDS = 1e5, 1e8
SHOWN_POINTS = 20
SHOWN_CHARACTERS = 200


class Paths(Settings):
    """Where things lie; results never depend on it. `data`: none = the folder that RECON_DATA names, else data/."""

    runs: str = "runs"
    features: str = "deep_features_data"
    models: str = "models_pretrained"
    data: str | None = None

    @property
    def data_root(self) -> Path:
        return located(self.data or os.environ.get("RECON_DATA") or "data")


class ResourceChanges(Settings):
    """What an experiment says differently from a stage's own defaults."""

    device: Literal["cpu", "gpu"] | None = None
    memory_gb: Annotated[float, Field(gt=0, le=MAX_MEMORY_GB)] | None = None
    seconds_per_shard: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None = None


class Experiment(Settings):
    """One experiment. A part that is absent means that the stages which need it have nothing to do."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    source: str = Field(description="the file it was read from")
    overrides: tuple[str, ...] = ()
    point: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_=,-][A-Za-z0-9._=,-]*$", description="the point of a grid that this is"
    )
    seed: int = 0
    paths: Paths = Paths()
    resources: dict[str, ResourceChanges] = Field(default_factory=dict)
    imported: Strings = Field(default=(), description="stages whose shards come from `jobs import`, not from work here")

    data: DataSet | None = None
    task: Task = Task()
    backbone: Backbone | None = None
    pretrain: Pretrain | None = None
    shadow_models: ShadowModels | None = None
    head_inversion: HeadInversion = HeadInversion()
    reconstructor: Reconstructor | None = None
    evaluation: Evaluation = Evaluation()
    subject: Subject | None = None
    gradient_inversion: GradientInversion | None = None
    kkt: Kkt | None = None

    @model_validator(mode="after")
    def _parts_fit(self):
        if not (self.data or self.backbone or self.pretrain or self.shadow_models or self.kkt):
            raise ValueError(
                "asks for nothing: it has none of the parts data, backbone, pretrain, shadow_models and kkt"
            )
        if self.shadow_models:
            if not (self.data and self.backbone):
                raise ValueError("shadow_models needs the parts data and backbone")
            logits = self.shadow_models.training.classes
            if (logits == 1) != (self.task.kind != "multiclass"):
                raise ValueError(
                    f"task.kind is {self.task.kind} but shadow_models.training.classes is {logits}; "
                    "binary and identity tasks have 1 logit, multiclass has one per class"
                )
        if self.backbone and not self.backbone.weights and not self.pretrain:
            raise ValueError("backbone.weights names no file and there is no pretrain part to make one")
        if self.gradient_inversion and not self.data:
            raise ValueError("gradient_inversion needs the part data")
        if self.kkt and self.kkt.problem.is_toy == (self.data is not None):
            need = "draws its own images; leave out the part data" if self.data else "needs the part data"
            raise ValueError(f"kkt.problem.labels: {self.kkt.problem.labels} {need}")
        if self.reconstructor and not self.shadow_models:
            raise ValueError("reconstructor needs the part shadow_models")
        if self.inverts_heads and not self.shadow_models.training.in_sample_space:
            raise ValueError(
                "reconstructor.reads: features needs heads trained by gradient descent (shadow_models.training "
                "optimizer: sgd, engine: auto): others leave the span of their training images; use reads: weights"
            )
        if self.subject and not (self.inverts_heads and "conditional" in self.modes):
            raise ValueError("subject needs the part reconstructor, with reads: features and the mode conditional")
        if self.subject and (self.shadow_models.training.hidden or self.task.kind != "multiclass"):
            raise ValueError("subject is a linear head of several classes: hidden: null, and task.kind multiclass")
        if self.subject and self.shadow_models.data:
            raise ValueError("subject goes with shadow models of the data itself: leave out shadow_models.data")
        return self

    @property
    def modes(self) -> list[str]:
        """What is reconstructed: a shard of every stage from the reconstructor to its rates."""
        return list(self.reconstructor.modes) if self.reconstructor else []

    @property
    def inverts_heads(self) -> bool:
        """Whether the reconstructor reads features recovered by head inversion."""
        return self.reconstructor is not None and self.reconstructor.reads == "features"

    @property
    def shard_directory(self) -> Path:
        """Where shards lie: the points of a grid share those that have the same fingerprint."""
        return located(self.paths.runs) / self.name

    @property
    def run_directory(self) -> Path:
        """What is this experiment's alone: report, logs, failures."""
        return self.shard_directory / "points" / self.point if self.point else self.shard_directory

    @property
    def title(self) -> str:
        return f"{self.name}: {self.point}" if self.point else self.name

    @property
    def arguments(self) -> str:
        """CONFIG and its overrides as they are typed after a command."""
        return shlex.join([self.source, *(part for override in self.overrides for part in ("--set", override))])


def load(config: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, merge, override and validate one experiment; raises UserError with one line for any mistake.

    Of a grid it is the point that the key `point` names.
    """
    return _Reading(config, overrides).experiment()


def load_all(config: str | Path, overrides: Sequence[str] = ()) -> list[Experiment]:
    """The experiment, or every point of its grid (the one that `point` names, where it is given)."""
    reading = _Reading(config, overrides)
    if reading.points is None or "point" in reading.merged:
        return [reading.experiment()]
    return [reading.experiment(name) for name in reading.points]


class _Reading:
    """An experiment's file and overrides, read and not yet validated."""

    def __init__(self, config: str | Path, overrides: Sequence[str]):
        path = find(config)
        self.name, self.shown, self.overrides = path.stem, as_typed(path), tuple(overrides)
        self.below, self.above = layers_of(path), [override_layer(override) for override in overrides]
        self.merged = merge([*self.below, *self.above])
        if reserved := {"source", "overrides"} & self.merged.keys():
            raise UserError(f"{path.name}: the key {reserved.pop()} is set by the program; remove it")
        self.points = grid_points(self.merged.pop("grid"), path.name) if "grid" in self.merged else None

    def experiment(self, point: str | None = None) -> Experiment:
        """The point of that name; of a grid without one, the point that the key `point` names."""
        overrides = (*self.overrides, f"point={point}") if point else self.overrides
        layers, merged = [*self.below, *self.above], self.merged
        if self.points is not None:
            chosen = point or merged.get("point")
            if not isinstance(chosen, str) or chosen not in self.points:
                raise UserError(
                    f"{self.shown} is a grid; choose one of its points with --set point=…: {_listed(self.points)}"
                )
            # under the overrides, which have the last word
            layers = [*self.below, self.points[chosen], *self.above]
            merged = {**merge(layers), "point": chosen}
            merged.pop("grid")
        given = {"name": self.name, **merged, "source": self.shown, "overrides": overrides}
        try:
            return Experiment.model_validate(given)
        except ValidationError as error:
            raise UserError(explain(Experiment, error, layers, self.shown)) from None


def _listed(points: Collection[str]) -> str:
    shown = ", ".join(itertools.islice(points, SHOWN_POINTS))
    return f"{shown}, … ({len(points):,} in all)" if len(points) > SHOWN_POINTS else shown


# ------------------------------------------------------------------------------------------- mistakes, in one line


def explain(model: type[BaseModel], error: ValidationError, layers: list[Layer], shown: str) -> str:
    """The first mistake in one line: which of `layers` (source, mapping) it stands in, the key, what would be valid."""
    # what stands there and is wrong, before what is missing
    first, *others = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] == "missing")
    place = tuple(part for part in first["loc"] if not str(part).startswith("<"))  # forms that a key may have
    key = ".".join(str(part) for part in place)
    where = next((source for source, layer in reversed(layers) if _has(layer, place)), shown)
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        valid = _fields_at(model, place[:-1])
        close = difflib.get_close_matches(str(place[-1]), valid, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{where}: unknown key {key}{hint} Valid keys here: {', '.join(valid)}{more}"
    if first["type"] == "missing":
        return f"{where}: {key} is missing{more}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    given = "" if isinstance(first["input"], dict | BaseModel) else f", not {_short(first['input'])}"
    return f"{where}: {key + ' ' if key else ''}{message}{given}{more}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _has(layer: Any, place: Sequence[str | int]) -> bool:
    for part in place:
        try:
            layer = layer[part]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(place)


def _fields_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return [name for name in model.model_fields if name not in ("source", "overrides")]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings class inside an annotation such as `tuple[Phase, ...] | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
