"""HDF5 shards: written atomically, verified before they are believed, many of them read as one.

A shard is done when its final file is sealed under the expected fingerprint, and in no other way. It is written to a
temporary beside it (host, process and restart count in the name), its seal last, flushed, synced and renamed, so that
a kill at any instant leaves the old state or the new one. What HDF5 is given to read was verified byte for byte.
"""

import contextlib
import hashlib
import io
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from pipeline import ROOT
from pipeline.errors import Damaged, Failure
from pipeline.files import ABSENT, atomic_write, unreadable
from pipeline.seal import read_seal, seal, verified

CHUNK_BYTES = 512 * 1024

State = Literal["done", "missing", "stale", "damaged"]


@dataclass(frozen=True)
class Result:
    """What one shard made: data sets, plain attributes, and files for people (name → bytes) to lay beside it."""

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------- writing


def write_shard(
    path: Path, result: Result, fingerprint: str, provenance: Mapping[str, Any], imported: str | None = None
) -> None:
    """Write `result` as the shard at `path`; raises Failure when the disk is full or refuses.

    Data sets of at least one dimension are chunked in whole rows of about half a MiB and carry Fletcher-32 sums.
    Attributes are `provenance`, the result's own, the fingerprint, and `complete` last. The seal repeats what the
    state of a shard is read from, names the files beside it by digest, and for an imported shard the files it is of.
    """
    # HDF5 crashes the process when a disk fills up under it, so it writes into memory and plain writes go to the disk.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, array in result.arrays.items():
            _write_array(file, name, np.asarray(array))
        for name, value in {**provenance, **result.attributes}.items():
            file.attrs[name] = _attribute(value)
        file.attrs["fingerprint"] = fingerprint
        file.attrs["complete"] = True
    for name, content in result.files.items():
        atomic_write(path.parent / name, content)
    content = image.getbuffer()
    facts = {
        "fingerprint": fingerprint,
        "files": {name: hashlib.sha256(beside).hexdigest() for name, beside in result.files.items()},
        "wall_seconds": float(provenance.get("wall_seconds", 0.0)),
        "device": provenance.get("device", "cpu"),
        "imported": imported,
    }
    atomic_write(path, content, seal(content, facts))


def _write_array(file: h5py.File, name: str, array: np.ndarray) -> None:
    if array.ndim == 0 or array.size == 0:
        file.create_dataset(name, data=array)
        return
    row_bytes = max(1, array[0].nbytes)
    rows = min(len(array), max(1, CHUNK_BYTES // row_bytes))
    file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), fletcher32=True)


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | np.ndarray | np.generic) else json.dumps(value)


@cache
def software() -> dict[str, str]:
    """The commit of this checkout and the versions that decide bits: part of every shard's provenance."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # a machine without git
        commit = ""
    packages = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy", "h5py")}
    return {"git_commit": commit or "unknown", "packages": json.dumps(packages)}


# ---------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Standing:
    """How a shard stands; once it is done, the wall time that making it took, and on which device ("cpu" or a GPU).

    `why` says what is wrong with a damaged one.
    """

    state: State
    wall_seconds: float = 0.0
    device: str = "cpu"
    why: str = ""


def standing(path: Path, fingerprint: str) -> Standing:
    """Done, missing, stale (made from other settings) or damaged (cut off, changed or not a shard at all).

    Reads the seal alone; `verify_shard` reads everything. Raises Failure where the file cannot be read now.
    """
    try:
        facts = shard_facts(path)
    except FileNotFoundError:
        return Standing("missing")
    except Damaged as damage:
        return Standing("damaged", why=damage.why)
    if facts["fingerprint"] != fingerprint:
        return Standing("stale")
    if not all((path.parent / name).exists() for name in facts["files"]):
        return Standing("missing")
    return Standing("done", facts["wall_seconds"], facts["device"])


FACTS = {"fingerprint": str, "files": dict, "wall_seconds": float, "device": str, "imported": str | None}


def shard_facts(path: Path) -> Mapping[str, Any]:
    """What the seal of a shard says: fingerprint, files (name → SHA-256), wall_seconds, device, imported.

    Raises FileNotFoundError, Damaged or Failure.
    """
    facts = read_seal(path).facts
    if facts.keys() != FACTS.keys() or not all(isinstance(facts[name], kind) for name, kind in FACTS.items()):
        raise Damaged(path, "is not a shard: its seal is another kind's")
    return facts


def verify_shard(path: Path) -> int:
    """Read all of a shard and of the files beside it; returns how many bytes. Raises Damaged, Failure."""
    size = verified(path).size
    for name, digest in shard_facts(path)["files"].items():
        beside = path.parent / name
        try:
            content = beside.read_bytes()
        except OSError as error:
            if error.errno in ABSENT:
                raise Damaged(path, f"lacks {name}, which was written beside it") from None
            raise unreadable(beside, error) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(path, f"is damaged: {name} beside it is not what was written")
        size += len(content)
    read_arrays(path)
    return size


def read_attributes(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        return dict(file.attrs)


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The named data sets of one shard (all of them when none is named), found to be what was written."""
    with _opened(path) as file:
        return {name: _data_set(file, name)[()] for name in names or _data_sets(file)}


def _data_sets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _data_set(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set whose numbers lie in this file; a link or storage elsewhere, as foreign files have, is none."""
    for depth in range(1, len(parts := name.split("/")) + 1):
        if not isinstance(file.get("/".join(parts[:depth]), getlink=True), h5py.HardLink):
            raise KeyError(f"{name} is not a data set of this file")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise KeyError(f"the numbers of {name} are not in this file")
    return found


class Shards:
    """The finished shards of one stage, read as one long table in the order of `paths`.

    Files are opened for each read and closed again, so that 2,000 shards need one descriptor; locks are not taken
    (each file has one writer and is complete).
    """

    def __init__(self, paths: Mapping[str, Path]):
        self.paths = dict(paths)

    @property
    def names(self) -> list[str]:
        return list(self.paths)

    def matching(self, prefix: str) -> "Shards":
        """The shards whose names start with `prefix`."""
        return Shards({name: path for name, path in self.paths.items() if name.startswith(prefix)})

    def read(self, shard: str, *names: str) -> dict[str, np.ndarray]:
        return read_arrays(self.paths[shard], *names)

    def attributes(self, shard: str) -> dict[str, Any]:
        return read_attributes(self.paths[shard])

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """One data set, a shard at a time."""
        for shard in self.paths:
            yield self.read(shard, name)[name]

    def lengths(self, name: str) -> np.ndarray:
        """(shards,) rows of the data set `name` in each shard."""
        return np.array([_shape(path, name)[0] for path in self.paths.values()], dtype=np.int64)

    def concatenated(self, *names: str) -> dict[str, np.ndarray]:
        """Data sets of all shards, joined along their rows."""
        parts = [self.read(shard, *names) for shard in self.paths]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def width(self, name: str) -> int:
        """Columns of the data set `name`, as the first shard has it."""
        return _shape(next(iter(self.paths.values())), name)[1]


def _shape(path: Path, name: str) -> tuple[int, ...]:
    with _opened(path) as file:
        return _data_set(file, name).shape


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A verified shard; raises Failure where it is missing or cannot be read now, Damaged where it is not sound."""
    try:
        verified(path)
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except FileNotFoundError:
        raise Failure(f"{path}: is missing; `python -m jobs run` makes it again") from None
    except KeyError as error:
        raise Failure(
            f"{path}: lacks what a shard of its stage holds ({error.args[0]}); remove it, and `python -m jobs run` "
            "makes it again"
        ) from error
    except OSError as error:
        if error.errno:
            raise unreadable(path, error) from error
        raise Damaged(path, f"is damaged ({str(error).splitlines()[0]})") from error
