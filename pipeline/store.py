"""HDF5 shards: written atomically, verified before they are believed, many of them read as one.

A shard is done when its final file says `complete` under the expected fingerprint, and in no other way. It is written
to a temporary beside it (host, process and restart count in the name), attributes last, flushed, synced and renamed,
so that a kill at any instant leaves the old state or the new one.
"""

import contextlib
import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from pipeline import ROOT
from pipeline.errors import Failure

CHUNK_BYTES = 512 * 1024

State = Literal["done", "missing", "stale", "damaged"]


@dataclass(frozen=True)
class Result:
    """What one shard made: data sets, plain attributes, and files for people (name → bytes) to lay beside it."""

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------- writing


def write_shard(path: Path, result: Result, fingerprint: str, provenance: Mapping[str, Any]) -> None:
    """Write `result` as the shard at `path`; raises Failure when the disk is full or refuses.

    Data sets of at least one dimension are chunked in whole rows of about half a MiB and carry Fletcher-32 sums.
    Attributes are `provenance`, the result's own, the fingerprint, and `complete` last.
    """
    # HDF5 crashes the process when a disk fills up under it, so it writes into memory and plain writes go to the disk.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, array in result.arrays.items():
            _write_array(file, name, np.asarray(array))
        for name, value in {**provenance, **result.attributes}.items():
            file.attrs[name] = _attribute(value)
        file.attrs["files"] = json.dumps(sorted(result.files))
        file.attrs["fingerprint"] = fingerprint
        file.attrs["complete"] = True
    for name, content in result.files.items():
        atomic_write(path.parent / name, lambda temporary, content=content: temporary.write_bytes(content))
    atomic_write(path, lambda temporary: temporary.write_bytes(image.getbuffer()))


def atomic_write(path: Path, fill: Callable[[Path], Any]) -> None:
    """Let `fill` write a temporary beside `path`, sync it, rename it to `path` and sync the directory."""
    temporary = path.with_name(f".{path.name}.{_writer()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Failure(f"{path}: cannot be written ({error.strerror}); nothing there was changed") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_array(file: h5py.File, name: str, array: np.ndarray) -> None:
    if array.ndim == 0 or array.size == 0:
        file.create_dataset(name, data=array)
        return
    row_bytes = max(1, array[0].nbytes)
    rows = min(len(array), max(1, CHUNK_BYTES // row_bytes))
    file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), fletcher32=True)


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | np.ndarray | np.generic) else json.dumps(value)


def _writer() -> str:
    return f"{socket.gethostname()}.{os.getpid()}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def remove_leftovers(directory: Path) -> int:
    """Delete temporaries whose writer is gone from `directory`; returns how many.

    A temporary of this host goes with its process; one of another host after a day, when no write can still be alive.
    """
    removed = 0
    for temporary in directory.glob(".*.tmp"):
        with contextlib.suppress(OSError, ValueError):
            host, process, _restart = temporary.name.removesuffix(".tmp").rsplit(".", 2)
            here = host.endswith("." + socket.gethostname())
            if not _running(int(process)) if here else time.time() - temporary.stat().st_mtime > 86400:
                temporary.unlink()
                removed += 1
    return removed


def _running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


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
    """How a shard stands; once it is done, the wall time that making it took, and on which device ("cpu" or a GPU)."""

    state: State
    wall_seconds: float = 0.0
    device: str = "cpu"


def standing(path: Path, fingerprint: str) -> Standing:
    """Done, missing, stale (made from other settings) or damaged (truncated, incomplete or not a shard at all)."""
    try:
        complete, found, files, seconds, device = _peek(
            path, "complete", "fingerprint", "files", "wall_seconds", "device"
        )
    except FileNotFoundError:
        return Standing("missing")
    except (OSError, KeyError):
        return Standing("damaged")
    if not complete:
        return Standing("damaged")
    if found != fingerprint:
        return Standing("stale")
    if not all((path.parent / name).exists() for name in json.loads(files)):
        return Standing("missing")
    return Standing("done", float(seconds), device)


def _peek(path: Path, *names: str) -> list[Any]:
    """Attributes by way of HDF5's own calls: a third of the time of h5py's mapping, which 2,000 files make felt."""
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, _WITHOUT_LOCKS)
    try:
        values = []
        for name in names:
            attribute = h5py.h5a.open(file, name.encode())
            value = np.empty((), attribute.dtype)
            attribute.read(value)
            values.append(value.item())
    finally:
        file.close()
    return [value.decode() if isinstance(value, bytes) else value for value in values]


_WITHOUT_LOCKS = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
_WITHOUT_LOCKS.set_file_locking(False, True)


def read_attributes(path: Path) -> dict[str, Any]:
    with _reading(path), _open(path) as file:
        return dict(file.attrs)


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The named data sets of one shard (all of them when none is named), checksums verified."""
    with _reading(path), _open(path) as file:
        return {name: file[name][()] for name in names or _data_sets(file)}


def _data_sets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def set_aside(path: Path) -> Path:
    """Rename a file that is not a sound shard, so that nothing of it is lost and the place is free."""
    for attempt in range(1000):
        aside = path.with_name(f"{path.name}.damaged-{attempt}")
        if not aside.exists():
            return path.rename(aside)
    raise Failure(f"{path}: 1000 damaged files lie beside it already; look at them and remove some")


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
    with _reading(path), _open(path) as file:
        return file[name].shape


def _open(path: Path) -> h5py.File:
    return h5py.File(path, "r", locking=False)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({str(error).splitlines()[0]})"
        raise Failure(f"{path}: {what}; `python -m jobs resume` makes it again") from error
