"""The state of a long shard, kept beside it so that a kill costs at most a minute and changes no bit of the result."""

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import Damaged, Failure
from pipeline.files import atomic_write, open_file, set_aside
from pipeline.interruption import Interrupted, stop_asked
from pipeline.seal import seal, verified

log = logging.getLogger(__name__)


class Checkpoint:
    """A sealed file that is renewed every `period` seconds, believed only under its fingerprint, and finally removed.

    Of several processes that make one shard, all read it and one writes it.
    """

    def __init__(self, path: Path, fingerprint: str, period: float = 60.0, writes: bool = True):
        self.path, self.fingerprint, self.period, self.writes = path, fingerprint, period, writes
        self._saved_at = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state with its tensors on `device`; None where there is none.

        A damaged file is set aside, and the shard starts over. Raises Failure for one of other settings, which is not
        written over, and for what cannot be read now; want of memory is no reason to start over either.
        """
        try:
            found = verified(self.path)
            with open_file(self.path) as file:
                content = io.BytesIO(file.read(found.size))
        except FileNotFoundError:
            return None
        except Damaged as damage:
            if self.writes:
                log.warning("%s: %s; it was set aside, and its shard starts over", damage.path, damage.why)
                set_aside(self.path, damage.why)
            return None
        if found.facts.get("fingerprint") != self.fingerprint:
            raise Failure(f"{self.path}: is the checkpoint of other settings; remove it to start over without it")
        return torch.load(content, map_location=device, weights_only=True)

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Call as often as the state is consistent; it is asked for and saved only when the period has passed.

        When this process was asked to stop, it is saved at once, and Interrupted is raised. A state that cannot be
        saved, on a full disk say, is warned of; the work goes on and the last one that was saved stays.
        """
        stop = stop_asked()
        if not stop and time.monotonic() - self._saved_at < self.period:
            return
        where = f"its state is in {self.path.name}"
        if self.writes:
            content = io.BytesIO()
            torch.save(state(), content)
            saved = content.getbuffer()
            try:
                atomic_write(self.path, saved, seal(saved, {"fingerprint": self.fingerprint}))
            except Failure as failure:
                log.warning("no checkpoint: %s", failure)
                where = f"its state could not be saved ({failure})"
        self._saved_at = time.monotonic()
        if stop:
            raise Interrupted(f"{stop}: {where}")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
