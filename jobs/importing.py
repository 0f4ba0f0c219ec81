"""`python -m jobs import`: files of others' runs as shards of an experiment, so that it goes on from them."""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.fingerprint import canonical_json
from pipeline.store import software, standing, write_shard
from stages import stage_named
from stages.plan import Plan, stage_known

OPTIONAL = ("labels", "correlation", "multipliers")
"""Files that their stage can do without."""


def import_shard(plan: Plan, target: str, files: Sequence[str], replace: bool) -> Path:
    """Write the shard `target` (STAGE or STAGE/SHARD) of files (FILE or NAME=FILE); returns where it lies."""
    name, _, shard = target.partition("/")
    stage_known(name, f"import {target}")
    from pipeline import published
    from pipeline.weight_files import read

    readers = published.readers()
    if name not in readers:
        raise UserError(f"import {target}: what can be imported are shards of {', '.join(readers)}")
    stage = stage_named(name)
    shards = stage.shards(plan.experiment)
    if not shard and len(shards) == 1:
        shard = shards[0]
    if shard not in shards:
        shown = ", ".join(shards[:3]) + (f", … {shards[-1]}" if len(shards) > 3 else "")
        raise UserError(f"import {target}: name one shard, {name}/SHARD; this experiment has {shown or 'none'}")
    if name == "shadow_models":
        _refuse_other_features(plan, shard)
    reader = readers[name]
    paths = _named(files, reader.names)
    if standing(plan.path(stage, shard), plan.fingerprints(stage)[shard]).state == "done" and not replace:
        raise UserError(
            f"import {target}: {plan.path(stage, shard)} is done already; --replace takes these files for it"
        )
    content = published.digest_of_all(paths)
    result = reader.make(plan.experiment, shard, {name: read(file) for name, file in paths.items()})
    origin = {
        "stage": name,
        "shard": shard,
        "settings": canonical_json(stage.settings(plan.experiment, shard)),
        "imported": published.described(paths),
        "host": socket.gethostname(),
        "job_id": "",
        "wall_seconds": 0.0,
        "device": "cpu",
        "threads": 0,
    }
    path, expected = plan.import_path(stage, shard), plan.imported_fingerprint(stage, shard, content)
    write_shard(path, result, expected, {**origin, **software()}, imported=content)
    return path


def _refuse_other_features(plan: Plan, shard: str) -> None:
    """Victims of another backbone than that of all else would be attacked in vain, and nobody would know."""
    from pipeline.evaluation.victims import OTHER_FEATURES
    from pipeline.shadow import seeds

    experiment, stage = plan.experiment, stage_named("deep_features")
    theirs = experiment.backbone.weights or experiment.imported  # what learnt from features may be theirs, too
    lacking = [features for features in stage.shards(experiment) if not plan.imported(stage, features)]
    if shard in seeds.scored(experiment) and lacking and not theirs:
        raise UserError(f"import shadow_models/{shard}: {OTHER_FEATURES.format(features=lacking[0])}")


def _named(files: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Name → path; a file without a name gets the first."""
    found = {}
    for given in files:
        named = re.fullmatch(r"([a-z0-9_/]+)=(.+)", given)
        name, path = (named[1], Path(named[2])) if named else (names[0], Path(given))
        if name.split("/")[0] not in names:
            raise UserError(f"{given}: the files of this stage are called {', '.join(names)}; write NAME=FILE")
        if name in found:
            raise UserError(
                f"{given}: there is a second file for {name}; write NAME=FILE, with names {', '.join(names)}"
            )
        if not path.is_file():
            raise UserError(f"{given}: there is no such file")
        found[name] = path
    if lacking := [name for name in names if name not in (*found, *OPTIONAL)]:
        raise UserError(f"{lacking[0]}: no file for it; write {lacking[0]}=FILE")
    return found
