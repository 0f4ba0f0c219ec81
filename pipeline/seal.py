"""A seal at the end of a file: facts about it, and a SHA-256 that one flipped bit breaks.

    content | facts (JSON, with the content's length and SHA-256) | length of the facts | their SHA-256 | the mark

HDF5 files and PyTorch's archives are read by anybody with such a seal behind them: neither minds what follows. What
carries one is handed to a parser only after its content was found to be what was written.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import Damaged
from pipeline.files import open_file, unreadable
from pipeline.fingerprint import canonical_json

MARK = b"\nrecon sealed 1\n"
TAIL = struct.Struct(f">Q32s{len(MARK)}s")
MOST_FACTS = 2**22


@dataclass(frozen=True)
class Seal:
    """`facts` as they were given; `size` bytes of content, and their SHA-256 in hexadecimal."""

    facts: Mapping[str, Any]
    size: int
    sha256: str


def seal(content: bytes | memoryview, facts: Mapping[str, Any]) -> bytes:
    """What to write behind `content`; `facts` is anything that JSON holds."""
    told = {"facts": dict(facts), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    body = canonical_json(told).encode()
    return body + TAIL.pack(len(body), hashlib.sha256(body).digest(), MARK)


def read_seal(path: Path) -> Seal:
    """The seal of a file, itself found sound; the content is not looked at.

    Raises FileNotFoundError, Damaged (not sealed, cut off or changed) or Failure (cannot be read now).
    """
    with open_file(path) as file:
        return _seal_of(path, file)


def verified(path: Path) -> Seal:
    """The seal of a file whose content was found to be what was written; raises as `read_seal`.

    A file is read once for as long as its size and times stay what they were.
    """
    with open_file(path) as file:
        state = os.fstat(file.fileno())
    return _verified(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=2**16)
def _verified(path: Path, *_state: int) -> Seal:
    with open_file(path) as file:
        found = _seal_of(path, file)
        digest, left = hashlib.sha256(), found.size
        buffer = memoryview(bytearray(2**20))
        try:
            file.seek(0)
            while left and (count := file.readinto(buffer[: min(left, len(buffer))])):
                digest.update(buffer[:count])
                left -= count
        except OSError as error:
            raise unreadable(path, error) from error
    if digest.hexdigest() != found.sha256:
        raise Damaged(path, "is damaged: its bytes are not those that were written")
    return found


def _seal_of(path: Path, file: BinaryIO) -> Seal:
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL.size))
        end = file.read()
        if len(end) < TAIL.size or not end.endswith(MARK):
            raise Damaged(path, "carries no seal at its end: it was cut off, or not written by this program")
        length, digest, _ = TAIL.unpack(end)
        if length > min(MOST_FACTS, size - TAIL.size):
            raise Damaged(path, "is damaged: the length of its seal is wrong")
        file.seek(size - TAIL.size - length)
        body = file.read(length)
    except OSError as error:
        raise unreadable(path, error) from error
    if hashlib.sha256(body).digest() != digest:
        raise Damaged(path, "is damaged: its seal is broken")
    try:
        told = json.loads(body)
        found = Seal(dict(told["facts"]), int(told["size"]), str(told["sha256"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(path, "is damaged: its seal says something else than seals do") from None
    if found.size + length + TAIL.size != size:
        raise Damaged(path, "is damaged: it is longer or shorter than its seal says")
    return found
