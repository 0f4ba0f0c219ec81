"""Weights that saw none of a victim's images: what H1 is scored with."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.evaluation.reading import Reader, Reading
from pipeline.evaluation.settings import Null
from pipeline.evaluation.victims import VictimSet
from pipeline.randomness import numpy_generator, torch_generator
from pipeline.statistics import Standardisation, h1_from_correlation, h1_from_weights

ROUNDS = 100


def null_readings(
    null: Null,
    draws: int,
    victims: VictimSet,
    indices: np.ndarray,
    persons: np.ndarray | None,
    *,
    reader: Reader,
    correlation: Callable[[], torch.Tensor],
    blocks: Callable[[], Iterable],
    standardise: Standardisation,
    purpose: tuple[str | int, ...],
) -> list[Reading]:
    """`draws` readings of V heads each, to hold against the training sets of V victims.

    indices (V, N): the images that trained each of the victims; persons (V,): whom each is about, for identities.
    correlation() (P', P') float64, blocks() of shadow weights: asked for where the null needs them. `purpose` seeds.
    """
    count, device = len(victims), victims.groups.device
    if null == "other_victims":
        candidates, exchange = victims.groups.flatten(1).cpu().numpy(), numpy_generator(*purpose)
        partners = [other_victims(candidates, indices, exchange, persons) for _ in range(draws)]
        return [victims.reading[torch.as_tensor(partner).to(device)] for partner in partners]
    generator = torch_generator(*purpose, device=device)
    if null == "correlation":
        drawn = h1_from_correlation(correlation(), draws * count, generator)
    else:
        drawn = h1_from_weights(blocks(), standardise, draws * count, generator)
    return [reader.read_standardised(z) for z in drawn.split(count)]


def other_victims(
    candidates: np.ndarray, indices: np.ndarray, generator: np.random.Generator, persons: np.ndarray | None = None
) -> np.ndarray:
    """(V,): for each victim another one that was trained on none of its candidate images, every victim used once.

    candidates (V, C): the images that each is scored against; indices (V, N): those that trained each. persons (V,):
    whom each is about; the other one is about another person then. Raises UserError where there is no such exchange.
    """
    if persons is not None:  # an image of their own that all victims about a person have
        candidates, indices = (np.column_stack([table, -1 - persons]) for table in (candidates, indices))
    victims = len(indices)
    order = generator.permutation(victims)
    partner = np.empty(victims, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    for _ in range(ROUNDS):
        wrong = np.flatnonzero(have_an_image_in_common(candidates, indices[partner]))
        if not len(wrong):
            return partner
        for victim in wrong:  # trades partners with any other; the next round looks at both again
            other = generator.integers(victims)
            partner[[victim, other]] = partner[[other, victim]]
    raise UserError(
        f"evaluation.nulls: {len(wrong)} of {victims} victims found no other that was trained on none of their images; "
        "leave out other_victims, or raise shadow_models.test_models"
    )


def have_an_image_in_common(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(V,) of each row of (V, C) with its row of (V, N)."""
    return (images[:, :, None] == others[:, None, :]).any((1, 2))
