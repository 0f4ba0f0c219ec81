"""The null of differential privacy: victims trained on the same set without one record, scored on that record.

Every other null changes the whole training set. Only this one compares neighbours, so only its curve is bounded by the
trade-off function of private training (privacy.trade_off).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.evaluation.reading import Reader, Reading
from pipeline.shadow.settings import Training


def removed_records(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Of candidates (V, G, J) the record that is taken out: images (V, G, 1) and places (V, G) in the training set.

    Victim v loses the candidate v mod J of each group, so that all places, and classes, take their turn.
    """
    victims, count, size = groups.shape
    chosen = (torch.arange(victims, device=groups.device) % size)[:, None].expand(-1, count)
    places = torch.arange(count, device=groups.device) * size + chosen
    return groups.gather(2, chosen[:, :, None]), places


def minus_one_reading(places: Tensor, reader: Reader, trained_without: Callable[[Tensor], Tensor]) -> Reading:
    """What is read, for group g of each victim, of the head trained without its record g.

    places (V, G); trained_without((V,) places) → weights (V, P) of new heads.
    """
    readings = [reader.read(trained_without(absent)) for absent in places.T]

    def of_own_head(part: str) -> Tensor | None:
        if getattr(readings[0], part) is None:
            return None
        return torch.stack([getattr(reading, part)[:, group] for group, reading in enumerate(readings)], 1)

    return Reading(*(of_own_head(part) for part in ("inputs", "labels", "slots")))


def refuse_untrainable(training: Training, samples: int) -> None:
    """Raises UserError for training that has no neighbour of N − 1 records."""
    if training.engine == "opacus":
        raise UserError("evaluation.nulls: minus_one trains neighbours without a record, and engine: opacus cannot")
    if training.batch_size and (samples - 1) % training.batch_size:
        raise UserError(
            f"evaluation.nulls: minus_one trains on {samples - 1} images, which do not divide into batches of "
            f"{training.batch_size}: leave it out, or set shadow_models.training.batch_size: null"
        )
