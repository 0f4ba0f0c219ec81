"""What a result depends on, as one SHA-256."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """One spelling for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """64 hexadecimal digits: the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@cache
def digest_of(path: Path) -> str:
    """64 hexadecimal digits: the SHA-256 of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
