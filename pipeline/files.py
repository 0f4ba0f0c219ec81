"""Plain files: read only where they are files, and written whole or not at all."""

import contextlib
import errno
import os
import socket
import stat
import time
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import Damaged, Failure

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
NO_FILES = (errno.ELOOP, errno.ENXIO)
"""What opening a circle of links, or a socket, is refused with."""


def open_file(path: Path) -> BinaryIO:
    """A regular file, open for reading.

    Raises FileNotFoundError where there is none, Damaged where a pipe, a folder or a device has its name, and Failure
    where the system refuses to read it now: no permission, no descriptors, a disk that fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
    except OSError as error:
        if error.errno in ABSENT:
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
        if error.errno in NO_FILES:
            raise Damaged(path, "is not a regular file") from None
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged(path, "is not a regular file")
    return os.fdopen(descriptor, "rb")


def unreadable(path: Path, error: OSError) -> Failure:
    """For a file that may be sound but cannot be read now: it is left as it is."""
    return Failure(f"{path}: cannot be read now ({error.strerror}); it is left as it is")


def atomic_write(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts` to a temporary beside `path`, sync it, rename it to `path` and sync the directory.

    The temporary is created exclusively and never through a link. Raises Failure, the old file untouched, when the
    system refuses.
    """
    temporary = path.with_name(f".{path.name}.{_writer()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # of an earlier process of this number
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
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


def set_aside(path: Path, why: str) -> Path:
    """Rename what is not a sound file, so that nothing of it is lost and its name is free; beside it lies the reason.

    Returns the new path.
    """
    for attempt in range(1000):
        aside = path.with_name(f"{path.name}.damaged-{attempt}")
        if not os.path.lexists(aside):
            path.rename(aside)
            atomic_write(aside.with_name(f"{aside.name}.txt"), f"{path}: {why}\n".encode())
            return aside
    raise Failure(f"{path}: 1000 damaged files lie beside it already; look at them and remove some")
