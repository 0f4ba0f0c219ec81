"""TensorBoard, for those who like to look on: an optional package, and no result depends on it."""

import importlib.util
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.evaluation.min_mse import Scores

SHOWN = 4


def check_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("reconstructor.tensorboard=true: that package is not here; `pip install tensorboard`")


class TensorBoard:
    """Event files in `directory`. After a resumption they go on; what is shown for a second time hides the first."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.writer = None

    def show(self, step: int, scalars: dict[str, float], scores: Scores) -> None:
        """Each scalar, and the reconstructions of the first few victims, one victim a row."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = self.writer or SummaryWriter(str(self.directory), purge_step=step)
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        rows = torch.as_tensor(scores.rebuilt[:SHOWN])
        self.writer.add_image("watched victims", rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2), step)
        self.writer.flush()
