"""Which samples of a training set make a step together, when batches have fixed members."""

from pipeline.errors import UserError


def fixed_batches(samples: int, batch_size: int | None) -> list[slice]:
    """Batch j of the N/B holds the samples j, j + N/B, j + 2N/B, …: of a set ordered by class, all classes alike."""
    batch_size = batch_size or samples
    if samples % batch_size:
        raise UserError(
            f"training sets of {samples} do not divide into batches of {batch_size}: set training.batch_size"
        )
    count = samples // batch_size
    return [slice(first, None, count) for first in range(count)]
