"""Problems small enough to look at: two colours, and points of the plane. Images are (n, C, 1, 1) in [0, 1]."""

import math

import torch
from torch import Tensor

from pipeline.errors import UserError

SHADES = 0.1
TURNS = 1.0
JITTER = 0.1


def red_blue(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Single pixels, red (class 1) and blue (class 0): each channel within `SHADES` of its pure value."""
    pure, labels = red_blue_pure(per_class, generator)
    shade = SHADES * torch.rand(pure.shape[:2], generator=generator, dtype=torch.float64)
    return (pure - shade[..., None, None]).abs(), labels


def red_blue_pure(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Single pixels, red (class 1) and blue (class 0), all of a class alike, as published; nothing is drawn."""
    labels = torch.arange(2).flip(0).repeat_interleave(per_class)
    pure = torch.tensor([[0.0, 0, 1], [1, 0, 0]], dtype=torch.float64)[labels]
    return pure[..., None, None], labels


def spiral(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two arms around the middle of the plane, half a turn apart."""
    labels = torch.arange(2).repeat_interleave(per_class)
    along = (torch.rand(2 * per_class, generator=generator, dtype=torch.float64) * 0.9 + 0.1).sqrt()
    angle = 2 * math.pi * TURNS * along + math.pi * labels
    return 0.5 + 0.5 * _points(along * angle.cos(), along * angle.sin()), labels


def grid_chess(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A chess board's squares."""
    row, column, points = _grid(per_class, generator)
    return points, (row + column) % 2


def grid_random(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A grid with labels that follow no rule."""
    _, _, points = _grid(per_class, generator)
    return points, torch.randperm(2 * per_class, generator=generator) % 2


def grid_linear(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A grid cut in two by a straight line."""
    row, _, points = _grid(per_class, generator)
    return points, (2 * row >= row.max() + 1).long()


def _points(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x, y], 1)[..., None, None]


def _grid(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column (n,) of each square of a board, and a point (n, 2, 1, 1) near its centre."""
    side = math.isqrt(2 * per_class)
    if side * side != 2 * per_class:
        raise UserError(
            f"kkt.problem.images_per_class is {per_class}; a square grid has 2, 8, 18, 32, 50, … of a class"
        )
    row, column = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    centre = torch.stack([row, column], 1) + 0.5
    away = JITTER * (2 * torch.rand(side * side, 2, generator=generator, dtype=torch.float64) - 1)
    return row, column, ((centre + away) / side)[..., None, None]


TOYS = {
    "red_blue": red_blue,
    "red_blue_pure": red_blue_pure,
    "spiral": spiral,
    "grid_chess": grid_chess,
    "grid_random": grid_random,
    "grid_linear": grid_linear,
}
