"""Being asked to stop, by a scheduler that takes the machine back: noted at once, heeded where work can be left."""

import signal
from types import FrameType


class Interrupted(Exception):
    """The shard in hand was left at a point from which it goes on: nothing failed, it is only not done yet."""


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
