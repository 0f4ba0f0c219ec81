"""The cluster file: where a site's jobs go, and what the site wants to be told. One YAML in config_data/clusters/."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from pipeline import ROOT, as_typed, located
from pipeline.config import explain
from pipeline.errors import UserError
from pipeline.layers import is_file
from pipeline.settings import Settings, Strings
from pipeline.yaml_files import read_yaml
from stages.plan import stage_known
from stages.stage import Resources

OURS = (
    "array",
    "chdir",
    "cpus-per-task",
    "dependency",
    "error",
    "job-name",
    "mem",
    "output",
    "requeue",
    "signal",
    "time",
)
"""Options of sbatch that the engine sets itself."""


class Placement(Settings):
    """How jobs of one kind are submitted. What is left out stays as the wider section, or the site, has it."""

    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    gpus_per_node: PositiveInt | None = None
    memory_gb: PositiveFloat | None = Field(None, description="instead of what the stage asks for")
    time_limit_minutes: PositiveInt | None = Field(None, description="the longest job that the partition takes")
    task_minutes: Annotated[int, Field(ge=10, le=60)] | None = Field(None, description="what a pack of shards fills")
    concurrent_tasks: PositiveInt | None = Field(None, description="elements of an array that run at once")
    warning_seconds: PositiveInt | None = Field(None, description="from the warning signal to the time limit")
    setup: Strings | None = Field(None, description="lines of bash before the work: modules, a virtual environment")
    extra: dict[str, str | int | bool] | None = Field(None, description="further options of sbatch, without dashes")

    @model_validator(mode="after")
    def _stays_on_its_line(self):
        """Every value is a line of a batch script: a newline in it would be a further line."""
        told = {name: getattr(self, name) for name in ("partition", "account", "constraint")}
        told |= {f"setup {at}": line for at, line in enumerate(self.setup or ())}
        for key, value in (self.extra or {}).items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", key):
                raise ValueError(f"extra {key!r} is no option of sbatch; write it without dashes")
            told[f"extra {key}"] = value
        for name, value in told.items():
            if isinstance(value, str) and not value.isprintable():
                raise ValueError(f"{name}: {value!r} should be one line without control characters")
        return self

    @field_validator("extra")
    @classmethod
    def _leaves_ours_alone(cls, extra: dict[str, Any] | None) -> dict[str, Any] | None:
        if taken := [key for key in OURS if key in (extra or {})]:
            raise ValueError(f"{taken[0]} is set by the engine; the others it sets are {', '.join(OURS)}")
        return extra


class Cluster(Placement):
    """The whole file: defaults for every job, then what differs for jobs on CPUs, on GPUs, and of single stages."""

    source: str
    cpu: Placement = Placement()
    gpu: Placement | None = None
    stages: dict[str, Placement] = Field(default_factory=dict)


@dataclass(frozen=True)
class TaskOptions:
    """Where and how one stage's tasks run: the cluster file and the stage's resources brought together."""

    device: str
    partition: str | None
    account: str | None
    constraint: str | None
    gpus_per_node: int | None
    threads: int
    memory_mb: int
    time_limit_minutes: int | None
    task_minutes: int
    concurrent_tasks: int
    warning_seconds: int
    setup: tuple[str, ...]
    extra: dict[str, str | int | bool]


def task_options(cluster: Cluster, stage: str, resources: Resources, device: str) -> TaskOptions:
    """`device` is auto, cpu or cuda; auto takes GPUs for the stages that want one, on a cluster that has a gpu part."""
    on_gpu = device == "cuda" or (device == "auto" and resources.device == "gpu" and cluster.gpu is not None)
    if on_gpu and cluster.gpu is None:
        raise UserError(f"--device cuda: {cluster.source} has no gpu part")
    kind = cluster.gpu if on_gpu else cluster.cpu
    sections = [cluster, kind, *([cluster.stages[stage]] if stage in cluster.stages else [])]
    chosen: dict[str, Any] = {}
    for section in sections:
        chosen |= {
            name: getattr(section, name) for name in Placement.model_fields if getattr(section, name) is not None
        }
    return TaskOptions(
        device="cuda" if on_gpu else "cpu",
        partition=chosen.get("partition"),
        account=chosen.get("account"),
        constraint=chosen.get("constraint"),
        gpus_per_node=chosen.get("gpus_per_node", 1) if on_gpu else None,
        threads=resources.threads,
        memory_mb=math.ceil(1024 * chosen.get("memory_gb", resources.memory_gb)),
        time_limit_minutes=chosen.get("time_limit_minutes"),
        task_minutes=chosen.get("task_minutes", 30),
        concurrent_tasks=chosen.get("concurrent_tasks", 100),
        warning_seconds=chosen.get("warning_seconds", 120),
        setup=chosen.get("setup", ()),
        extra={key: value for section in sections for key, value in (section.extra or {}).items()},
    )


def load_cluster(name: str | None) -> Cluster:
    """Read a cluster file, given as a path or as the name of one in config_data/clusters/; raises UserError."""
    folder = ROOT / "config_data" / "clusters"
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yml")))
    if name is None:
        raise UserError(f"--executor slurm needs --cluster FILE; in config_data/clusters/ there are: {known}")
    candidates = (located(name), folder / f"{name}.yml")
    path = next((candidate.resolve() for candidate in candidates if is_file(candidate)), None)
    if path is None:
        raise UserError(f"--cluster {name}: no such file; in config_data/clusters/ there are: {known}")
    content = read_yaml(path)
    shown = as_typed(path)
    if "source" in content:
        raise UserError(f"{shown}: the key source is set by the program; remove it")
    try:
        cluster = Cluster.model_validate({**content, "source": shown})
    except ValidationError as error:
        raise UserError(explain(Cluster, error, [(shown, content)], shown)) from None
    for stage in cluster.stages:
        stage_known(stage, f"{shown}: stages.{stage}")
    return cluster
