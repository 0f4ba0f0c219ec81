"""What a data set's files hold, as one SHA-256: results depend on it, and never on where the files lie."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from pipeline.errors import Failure, UserError
from pipeline.files import atomic_write
from pipeline.fingerprint import fingerprint

EVERYTHING = "**"
SETTLED_SECONDS = 2.0
"""A file that changed so lately may change again within one tick of its clock: its digest is not kept."""


@cache
def content_of(root: Path, patterns: tuple[str, ...]) -> str:
    """64 hexadecimal digits for the names and bytes of all files below `root` that match; "absent" where none does.

    Patterns are those of Path.glob; EVERYTHING also follows links to folders. Bytes are read again only when a name,
    size, time or inode has changed: what was found is kept below $XDG_CACHE_HOME. Raises UserError for a file that
    cannot be read.
    """
    started = time.time()
    try:
        files = {str(file.relative_to(root)): file for pattern in patterns for file in _matching(root, pattern)}
        states = {name: file.stat() for name, file in sorted(files.items())}
        states = {name: state for name, state in states.items() if files[name].is_file()}
        if not states:
            return "absent"
        listing = hashlib.sha256(
            json.dumps(
                [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in states.items()]
            ).encode()
        ).hexdigest()
        kept = _kept_at(root, patterns)
        if (found := _kept(kept, listing)) is not None:
            return found
        digest = hashlib.sha256()
        for name in states:
            digest.update(os.fsencode(name) + b"\0" if len(states) > 1 else b"")  # a lone file may be called anything
            with files[name].open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise UserError(f"{error.filename or root}: cannot be read ({error.strerror})") from error
    found = digest.hexdigest()
    if max(max(s.st_mtime, s.st_ctime) for s in states.values()) < started - SETTLED_SECONDS:
        _keep(kept, listing, found)
    return found


def check_once(root: Path, patterns: tuple[str, ...], name: str, check: Callable[[], None]) -> None:
    """Call `check`, which raises where the files are not what they should be; not if it has passed on the same bytes.

    `name` tells the checks of one set of files apart.
    """
    kept, listing = _kept_at(root, (*patterns, name)), content_of(root, patterns)
    if _kept(kept, listing) is None:
        check()
        _keep(kept, listing, "passed")


def _matching(root: Path, pattern: str) -> Iterable[Path]:
    if pattern != EVERYTHING:
        return root.glob(pattern)
    walk = os.walk(root, followlinks=True)  # as torchvision reads a folder
    return (Path(folder, name) for folder, _, names in walk for name in names)


def _kept_at(root: Path, patterns: tuple[str, ...]) -> Path | None:
    with contextlib.suppress(RuntimeError, KeyError):  # a user without a home
        cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache_home / "reconstruction" / "digests" / f"{fingerprint([str(root), patterns])}.json"
    return None


def _kept(path: Path | None, listing: str) -> str | None:
    try:
        found = json.loads(path.read_bytes())
        return str(found["content"]) if found["listing"] == listing else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path | None, listing: str, content: str) -> None:
    if path:
        with contextlib.suppress(Failure):  # a home that cannot be written: the files are read again next time
            atomic_write(path, json.dumps({"listing": listing, "content": content}).encode())
