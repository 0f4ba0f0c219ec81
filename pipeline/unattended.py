"""Checkpoint and progress of a computation in a notebook or a script: none is kept, none is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.checkpoint import Checkpoint


class _NoCheckpoint(Checkpoint):
    """Nothing is saved, so an interrupted computation starts over."""

    def __init__(self) -> None:
        super().__init__(Path("no-checkpoint"), "", writes=False)

    def load(self, device: torch.device) -> None:
        return None

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        pass

    def remove(self) -> None:
        pass


NO_CHECKPOINT = _NoCheckpoint()


def silent(done: int, total: int, text: str) -> None:
    """Progress that nobody sees."""
