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

from pydantic import BaseModel, Field, ValidationError, create_model, model_validator

from pipeline import as_typed, located
from pipeline.attacks import ATTACKS, settings_fields
from pipeline.data.settings import DataSet, Task
from pipeline.errors import UserError
from pipeline.evaluation.settings import Evaluation
from pipeline.layers import Layer, find, grid_points, layers_of, merge, override_layer
from pipeline.networks.settings import Backbone, Pretrain
from pipeline.settings import Settings, Strings
from pipeline.shadow.settings import ShadowModels

MAX_MEMORY_GB, MAX_SECONDS = 1e5, 1e8
SHOWN_POINTS = 20
SHOWN_CHARACTERS = 200


class Paths(Settings):
    """Where things lie; results never depend on it. `data`: none = the folder that RECON_DATA names, else data/."""

    runs: str = Field(default="runs", description="results: runs/EXPERIMENT/STAGE/SHARD.h5")
    features: str = Field(default="deep_features_data", description="features of images, shared by all experiments")
    models: str = Field(default="models_pretrained", description="pre-trained backbones, shared by all experiments")
    data: str | None = Field(
        default=None, description="the data sets; none = the folder that RECON_DATA names, else data/"
    )

    @property
    def data_root(self) -> Path:
        return located(self.data or os.environ.get("RECON_DATA") or "data")


class ResourceChanges(Settings):
    """What an experiment says differently from a stage's own defaults."""

    device: Literal["cpu", "gpu"] | None = Field(default=None, description="what the stage wants")
    memory_gb: Annotated[float, Field(gt=0, le=MAX_MEMORY_GB)] | None = Field(
        default=None, description="main memory of a shard"
    )
    seconds_per_shard: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None = Field(
        default=None, description="time of a shard, by which SLURM tasks are packed and `--dry-run` estimates"
    )


class CommonParts(Settings):
    """What any experiment may say, whichever attack it makes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    source: str = Field(description="the file it was read from")
    overrides: tuple[str, ...] = ()
    point: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_=,-][A-Za-z0-9._=,-]*$", description="the point of a grid that this is"
    )
    seed: int = Field(default=0, description="every random draw of the experiment comes from it")
    paths: Paths = Paths()
    resources: dict[str, ResourceChanges] = Field(default_factory=dict)
    imported: Strings = Field(default=(), description="stages whose shards come from `jobs import`, not from work here")

    data: DataSet | None = None
    task: Task = Task()
    backbone: Backbone | None = None
    pretrain: Pretrain | None = None
    shadow_models: ShadowModels | None = None
    evaluation: Evaluation = Evaluation()


class Experiment(create_model("PartsOfAttacks", __base__=CommonParts, **settings_fields())):
    """One experiment. A part that is absent means that the stages which need it have nothing to do."""

    @model_validator(mode="after")
    def _parts_fit(self):
        parts = ["data", "backbone", "pretrain", "shadow_models"]
        parts += [key for attack in ATTACKS for key, part in attack.parts.items() if part.default is None]
        if all(getattr(self, part) is None for part in parts):
            raise ValueError(f"asks for nothing: it has none of the parts {', '.join(parts[:-1])} and {parts[-1]}")
        if self.shadow_models:
            if not (self.data and self.backbone):
                raise ValueError("shadow_models needs the parts data and backbone")
            logits = self.shadow_models.training.classes
            if (logits == 1) != (self.task.kind != "multiclass"):
                raise ValueError(
                    f"task.kind is {self.task.kind} but shadow_models.training.classes is {logits}; "
                    "binary and identity tasks have 1 logit, multiclass has one per class"
                )
        if self.backbone and not (self.backbone.weights or self.pretrain or "deep_features" in self.imported):
            raise ValueError("backbone.weights names no file and there is no pretrain part to make one")
        for attack in ATTACKS:
            attack.refuse(self)
        return self

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
            model = model_in(model.model_fields[part].annotation) or model
    return [name for name in model.model_fields if name not in ("source", "overrides")]


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings class inside an annotation such as `tuple[Phase, ...] | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := model_in(part))), None)
