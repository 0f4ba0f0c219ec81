"""One at a time: whoever carries out or submits work for an experiment holds its lock file.

The file comes into being whole, as a hard link to one already written (atomic on NFS too), and says who holds it: host,
boot, process, when that process started, and a token of this one holding. It is removed only by who has it open under
flock and sees that the name still means it, so that nobody removes what another has just taken.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import Failure
from pipeline.files import remove_leftovers
from pipeline.settings import Settings

BEAT_SECONDS = 20.0
DEAD_AFTER_SECONDS = 300.0
"""A holder touches its lock every beat. One of another host, or a file that names none, so long silent is dead."""
POLL_SECONDS = 0.05
MAX_BYTES = 2**16
WITHOUT_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Owner(Settings):
    """`started` is in clock ticks since the boot whose id is `boot`: with them a process id means one process only."""

    what: str
    host: str
    process: int
    since: float
    started: int
    boot: str
    token: str

    @classmethod
    def here(cls, what: str) -> "Owner":
        return cls(
            what=what,
            host=socket.gethostname(),
            process=os.getpid(),
            since=time.time(),
            started=_started(os.getpid()) or 0,
            boot=_boot(),
            token=secrets.token_hex(16),
        )

    def __str__(self) -> str:
        minutes = max(0.0, time.time() - self.since) / 60
        return f"`{self.what}`, process {self.process} on {self.host}, since {minutes:.0f} min"


@dataclass(frozen=True)
class Found:
    """A lock file as it is: its owner, or none where it names none."""

    path: Path
    owner: Owner | None
    removable: bool

    def __str__(self) -> str:
        return str(self.owner) if self.owner else f"nobody that its lock file names ({self.path})"

    @property
    def here(self) -> bool:
        """Whether its owner is of this host, where one can see whether it lives."""
        return self.owner is not None and self.owner.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether its owner is certainly at work."""
        return self.here and not self.dead

    @property
    def dead(self) -> bool:
        if not self.here:
            return _silent_seconds(self.path) > DEAD_AFTER_SECONDS
        return self.owner.boot != _boot() or self.owner.started != _started(self.owner.process)


@contextlib.contextmanager
def lock(directory: Path, what: str, say: Callable[[str], None], wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold `directory`/lock; raises Failure when another still holds it after `wait_seconds`.

    The lock of a process that is gone is broken, and said so.
    """
    path, owner = directory / "lock", Owner.here(what)
    deadline = time.monotonic() + wait_seconds
    remove_leftovers(directory)
    while not _take(path, owner):
        found = look(path)
        if found is None:
            continue
        if found.dead and found.removable:
            if remove(found):
                say(f"the lock of {found} is broken: that process is gone")
            continue
        if time.monotonic() >= deadline:
            raise Failure(_in_the_way(found))
        time.sleep(POLL_SECONDS)
    released = threading.Event()
    threading.Thread(target=_beat, args=(path, owner, released), daemon=True).start()
    try:
        yield
    finally:
        released.set()
        if (found := look(path)) and found.owner == owner:
            remove(found)


def _in_the_way(found: Found) -> str:
    name = found.path.parent.name
    if found.owner:
        return f"{name} is being worked on by {found.owner}; wait for it, or end it first"
    if not found.removable:
        return f"{found.path}: is in the place of the lock file and is no file; remove it"
    return (
        f"{found.path}: names no holder of the lock of {name}; `python -m jobs unlock` removes it, "
        f"and so does the next command once it is {DEAD_AFTER_SECONDS / 60:g} min old"
    )


def look(path: Path) -> Found | None:
    """The lock at `path`, if there is one; follows no link and opens nothing but plain files."""
    try:
        kind = path.lstat().st_mode
        owner = _owner(path) if stat.S_ISREG(kind) else None
        return Found(path, owner, stat.S_ISREG(kind) or stat.S_ISLNK(kind))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from error


def _owner(path: Path) -> Owner | None:
    with _opened(path, os.O_RDONLY) as handle:
        content = os.read(handle, MAX_BYTES)
    try:
        return Owner.model_validate_json(content)
    except ValidationError:
        return None


def remove(found: Found) -> bool:
    """Remove that very lock; False when it is no longer there, or another is."""
    path = found.path
    if not found.removable:
        raise Failure(_in_the_way(found))
    try:
        if path.is_symlink():
            path.unlink()
            return True
        with _opened(path, os.O_RDWR) as handle:
            with contextlib.suppress(OSError):  # a file system without flock
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not os.path.samestat(path.lstat(), os.fstat(handle)) or _owner(path) != found.owner:
                return False
            path.unlink()
            return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Failure(f"{path}: cannot be removed ({error.strerror}); it is the lock of {found}") from error


def _take(path: Path, owner: Owner) -> bool:
    written = path.with_name(f".lock.{owner.token}.{owner.host}.{owner.process}.0.tmp")
    try:
        try:
            _write(written, owner)
            os.link(written, path)
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            _write(path, owner)
        finally:
            written.unlink(missing_ok=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror})") from error
    return True


def _write(path: Path, owner: Owner) -> None:
    with _opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY) as handle:
        os.write(handle, owner.model_dump_json().encode())


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)


def _beat(path: Path, owner: Owner, released: threading.Event) -> None:
    while not released.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError), _opened(path, os.O_RDWR) as handle:
            if _owner(path) == owner:
                os.utime(handle)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(process: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _silent_seconds(path: Path) -> float:
    """Time since the last beat by the file server's own clock, since hosts differ; a beat yet to come is as old."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as now:
            return abs(os.fstat(now.fileno()).st_mtime - path.lstat().st_mtime)
    except OSError:
        return 0.0
