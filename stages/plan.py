"""What an experiment's files should be: the fingerprint and the path of every shard of every stage."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pipeline.config import Experiment
from pipeline.errors import Damaged, Failure, UserError
from pipeline.fingerprint import fingerprint
from pipeline.store import Shards, Standing, shard_facts, standing
from stages import NAMES, stage_named
from stages.stage import Resources, Stage


class Plan:
    """Fingerprints and paths, worked out once per experiment; of files it reads the data and the seals of imports."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self._made: dict[str, dict[str, str]] = {}
        self._fingerprints: dict[str, dict[str, str]] = {}
        for name in experiment.resources:
            stage_known(name, f"{experiment.source}: resources.{name}")
        for name in experiment.imported:
            stage_known(name, f"{experiment.source}: imported")

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages this experiment needs, each after those it reads; nothing that only imported shards came from."""
        found = [stage for stage in map(stage_named, NAMES) if stage.shards(self.experiment)]
        if not self.experiment.imported:
            return found
        made = [stage for stage in found if stage.name != "report"]
        needed = {stage.name for stage in made} - {
            _stage_of(name) for stage in made for name in stage.inputs(self.experiment)
        }
        for stage in reversed(found):
            if stage.name in needed:
                needed.update(map(_stage_of, self._reads(stage)))
        return [stage for stage in found if stage.name in needed or stage.name == "report"]

    def _reads(self, stage: Stage) -> list[str]:
        """What a stage reads, STAGE or STAGE/PREFIX: nothing, where its shards are imported."""
        return [] if stage.name in self.experiment.imported else stage.inputs(self.experiment)

    def inputs(self, stage: Stage) -> list[Stage]:
        """The stages that `stage` reads, as far as this experiment needs them."""
        return [other for other in self.stages if self._read_by(stage, other)]

    def _read_by(self, stage: Stage, other: Stage) -> list[str]:
        """The shards of `other` that `stage` reads: all of them, or those with the prefixes that it names."""
        named = [name.partition("/") for name in self._reads(stage)]
        prefixes = tuple(prefix for name, _, prefix in named if name == other.name)
        return [shard for shard in other.shards(self.experiment) if shard.startswith(prefixes)]

    def imported(self, stage: Stage, shard: str) -> bool:
        """Whether this shard was imported."""
        return shard in self._imports.get(stage.name, ())

    def import_path(self, stage: Stage, shard: str) -> Path:
        return self.experiment.run_directory / "imported" / stage.name / f"{shard}.h5"

    def imported_fingerprint(self, stage: Stage, shard: str, content: str) -> str:
        """Of a shard that was imported: its own, had it been made here, and the digest of the files it is of."""
        return fingerprint({"made": self._fingerprints_if_made(stage)[shard], "imported": content})

    @cached_property
    def _imports(self) -> dict[str, list[str]]:
        """Stage → its imported shards, as the run directory has them."""
        directory = self.experiment.run_directory / "imported"
        if not os.path.isdir(directory):  # noqa: PTH112 Path.is_dir raises where a name is too long
            return {}
        return {folder.name: [file.stem for file in folder.glob("*.h5")] for folder in directory.iterdir()}

    def fingerprints(self, stage: Stage) -> dict[str, str]:
        """Shard → SHA-256 of its settings, the stage's version, all that it reads and what it was imported from."""
        if stage.name not in self._fingerprints:
            found = dict(self._fingerprints_if_made(stage))
            for shard in found.keys() & self._imports.get(stage.name, ()):
                found[shard] = self.imported_fingerprint(stage, shard, self._content_of_import(stage, shard))
            self._fingerprints[stage.name] = found
        return self._fingerprints[stage.name]

    def _content_of_import(self, stage: Stage, shard: str) -> str:
        try:
            return shard_facts(self.import_path(stage, shard))["imported"] or ""
        except (Damaged, FileNotFoundError):  # which its standing will say
            return ""

    def _fingerprints_if_made(self, stage: Stage) -> dict[str, str]:
        if stage.name not in self._made:
            read = {}
            for other in self.inputs(stage):
                found = self.fingerprints(other)
                read[other.name] = fingerprint({shard: found[shard] for shard in self._read_by(stage, other)})
            self._made[stage.name] = {
                shard: fingerprint(
                    {
                        "stage": stage.name,
                        "version": stage.version,
                        "shard": shard,
                        "settings": stage.settings(self.experiment, shard),
                        "inputs": read,
                    }
                )
                for shard in stage.shards(self.experiment)
            }
        return self._made[stage.name]

    @cached_property
    def fingerprint(self) -> str:
        """Of everything the experiment makes: equal for two readings of a file that ask for the same work."""
        return fingerprint({stage.name: self.fingerprints(stage) for stage in self.stages})

    def path(self, stage: Stage, shard: str) -> Path:
        if self.imported(stage, shard):
            return self.import_path(stage, shard)
        return stage.location(self.experiment, stage.name, shard, self.fingerprints(stage)[shard])

    def checkpoint_path(self, stage: Stage, shard: str) -> Path:
        """Where a long shard keeps its state until it is done; other settings keep theirs elsewhere."""
        path = self.path(stage, shard)
        return path.with_name(f"{path.stem}-{self.fingerprints(stage)[shard][:10]}.checkpoint")

    def standings(self, stage: Stage) -> dict[str, Standing]:
        """Shard → done, missing, stale or damaged, as the files say now."""
        expected = self.fingerprints(stage)
        return {shard: standing(self.path(stage, shard), expected[shard]) for shard in expected}

    def finished(self, stage: Stage, wanted: list[str] | None = None) -> Shards:
        """All shards of a stage, or the wanted ones, for reading; raises Failure when one is not there."""
        expected = self.fingerprints(stage)
        found = {shard: standing(self.path(stage, shard), expected[shard]) for shard in wanted or expected}
        if lacking := [shard for shard in found if found[shard].state != "done"]:
            raise Failure(
                f"{stage.name}: {len(lacking)} of {len(found)} shards are not done (first: {lacking[0]}, "
                f"{found[lacking[0]].state}); make them with `python -m jobs run {self.experiment.arguments}`"
            )
        return Shards({shard: self.path(stage, shard) for shard in found})

    def shards_of(self, stage: str, wanted: list[str] | None = None) -> Shards:
        """The finished shards of the stage of that name, for reading."""
        return self.finished(stage_named(stage), wanted)

    def read_inputs(self, stage: Stage) -> Mapping[str, Shards]:
        return {other.name: self.finished(other, self._read_by(stage, other)) for other in self.inputs(stage)}

    def resources(self, stage: Stage) -> Resources:
        """The stage's defaults with the experiment's changes."""
        defaults = stage.resources(self.experiment)
        changes = self.experiment.resources.get(stage.name)
        changed = changes.model_dump(exclude_none=True) if changes else {}
        return Resources(**{**vars(defaults), **changed})


def _stage_of(read: str) -> str:
    return read.partition("/")[0]


def stage_known(name: str, where: str) -> str:
    """`name`, if there is such a stage; raises UserError."""
    if name not in NAMES:
        raise UserError(f"{where}: there is no stage {name}; the stages are {', '.join(NAMES)}")
    return name
