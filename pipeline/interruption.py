"""Preemption: a signal sets a flag, which checkpoints read."""

import signal
from types import FrameType


class Interrupted(Exception):
    """The shard in hand was saved and left unfinished; the next run goes on from there."""


_asked_by: list[str] = []


def listen(*signals: signal.Signals) -> None:
    """From now on these signals ask this process to stop, and do nothing else to it."""
    for number in signals:
        signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    _asked_by.append(signal.Signals(number).name)


def stop_asked() -> str | None:
    """The signal that asked this process to stop, if one did."""
    return _asked_by[0] if _asked_by else None
