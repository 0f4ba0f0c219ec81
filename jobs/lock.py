"""One at a time: whoever carries out or submits work for an experiment holds its lock file."""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import Failure

BEAT_SECONDS = 20.0
DEAD_AFTER_SECONDS = 300.0
"""A holder on another host touches its lock every beat; silent for so long, it is taken for dead."""


@dataclass(frozen=True)
class Owner:
    what: str
    host: str
    process: int
    since: float

    def __str__(self) -> str:
        minutes = max(0.0, time.time() - self.since) / 60
        return f"`{self.what}`, process {self.process} on {self.host}, since {minutes:.0f} min"


@contextlib.contextmanager
def lock(directory: Path, what: str, say: Callable[[str], None], wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold `directory`/lock; raises Failure when another still holds it after `wait_seconds`.

    The file is made with O_EXCL, which is atomic on NFS too. The lock of a process that is gone is broken, and said so.
    """
    path = directory / "lock"
    deadline = time.monotonic() + wait_seconds
    while not _take(path, what):
        _break_if_dead(path, say)
        if time.monotonic() >= deadline and (owner := _owner(path)):
            raise Failure(f"{directory.name} is being worked on by {owner}; wait for it, or end it first")
        time.sleep(0.2)
    released = threading.Event()
    threading.Thread(target=_beat, args=(path, released), daemon=True).start()
    try:
        yield
    finally:
        released.set()
        path.unlink(missing_ok=True)


def _take(path: Path, what: str) -> bool:
    owner = json.dumps(asdict(Owner(what, socket.gethostname(), os.getpid(), time.time()))).encode()
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            os.write(handle, owner)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(handle)
    except FileExistsError:
        return False
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror})") from error
    return True


def _beat(path: Path, released: threading.Event) -> None:
    while not released.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # just made, or its writer died before it had written
        return Owner("a command that has not yet said what it is", "an unknown host", 0, time.time())


def _break_if_dead(path: Path, say: Callable[[str], None]) -> None:
    owner = _owner(path)
    if owner is None:
        return
    if owner.host == socket.gethostname():
        dead = not Path(f"/proc/{owner.process}").exists()
    else:
        dead = _silent_seconds(path) > DEAD_AFTER_SECONDS
    if not dead:
        return
    aside = path.with_name(f"lock.{socket.gethostname()}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.rename(aside)
        if _owner(aside) == owner:
            say(f"the lock of {owner} is broken: that process is gone")
        else:  # another broke it first, and this is its own new lock
            os.link(aside, path)
        aside.unlink()


def _silent_seconds(path: Path) -> float:
    """Age of the last beat by the file server's own clock, since hosts differ."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent) as now:
            return Path(now.name).stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
