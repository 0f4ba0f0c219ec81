"""The state of a long shard, kept beside it so that a kill costs at most a minute and changes no bit of the result."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.interruption import Interrupted, stop_asked
from pipeline.store import atomic_write


class Checkpoint:
    """A file that is renewed every `period` seconds, ignored when its fingerprint is another's, and finally removed.

    Of several processes that make one shard, all read it and one writes it.
    """

    def __init__(self, path: Path, fingerprint: str, period: float = 60.0, writes: bool = True):
        self.path, self.fingerprint, self.period, self.writes = path, fingerprint, period, writes
        self._saved_at = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state with its tensors on `device`, or None when there is none of this fingerprint to be read."""
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            return content["state"] if content["fingerprint"] == self.fingerprint else None
        except Exception:  # torch.load fails on a foreign file in many ways; the shard then starts over
            return None

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Call as often as the state is consistent; it is asked for and saved only when the period has passed.

        When this process was asked to stop, it is saved at once, and Interrupted is raised.
        """
        stop = stop_asked()
        if not stop and time.monotonic() - self._saved_at < self.period:
            return
        if self.writes:
            content = {"fingerprint": self.fingerprint, "state": state()}
            atomic_write(self.path, lambda temporary: torch.save(content, temporary))
        self._saved_at = time.monotonic()
        if stop:
            raise Interrupted(f"{stop}: its state is in {self.path.name}")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
