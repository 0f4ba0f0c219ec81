"""The audit itself: rates of the attack on heads of the same recipe, then what it gives of the heads under audit."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.audit.attack import Attack
from pipeline.audit.belonging import Fit, Suspicion, compare, suspect
from pipeline.audit.held_out import FIRST, NULL, SECOND, Heads, parts_of, train_on
from pipeline.audit.identification import Attacked, Background, Pool, Rates, rank_among, rates, scores
from pipeline.audit.settings import Subject
from pipeline.audit.subject import Audited, Gallery
from pipeline.config import Experiment
from pipeline.data.images import to_bytes, to_unit
from pipeline.errors import Failure
from pipeline.head_inversion.build import start_of
from pipeline.randomness import numpy_generator
from pipeline.shadow.recipe import Recipe, head_of
from pipeline.shadow.settings import Training

MOST_OF_A_CLASS = 1000
"""Images of a class, of the adversary's training split, with which a picture is compared beside the null's."""
TRIED_HEADS = 100
"""Retrained for every other recipe that a head is held against."""
ROUNDING = 1e-6
"""Of a weight's typical size: by this much known starts are moved, since long steps magnify what another program rounds
otherwise, and a head of the same recipe would stand apart from retrained ones that are all the same."""


@dataclass(frozen=True)
class Kind:
    """What is known of heads of this recipe: rates of the attack; and for judging a further head the null's heads, the
    images that no head under audit was trained on, and which of the adversary's training images those are."""

    rates: Rates
    null: Heads
    pool: Gallery


def measure_kind(
    attack: Attack,
    recipe: Recipe,
    train: Gallery,
    test: Gallery,
    private: Tensor,
    purpose: tuple[str | int, ...],
    progress: Callable[[int, int, str], None],
) -> Kind:
    """Heads dealt from `test` without the `private` images (m, C, S, S): some for the null, the others attacked and
    scored against their own images and against strangers. `recipe` holds the features of `test`."""
    subject: Subject = recipe.experiment.subject
    generator = numpy_generator(*purpose, "parts")
    parts = parts_of(test.labels, test.among(private), recipe.experiment.shadow_models.class_size, generator)
    part_of = {part: np.flatnonzero(parts == part) for part in (NULL, FIRST, SECOND)}
    progress(0, 4, "heads for the null")
    null = train_on(recipe, part_of[NULL], subject.null_heads, (*purpose, "null"))
    half = -(-subject.tested_heads // 2)
    tested = [train_on(recipe, part_of[part], half, (*purpose, "tested", part)) for part in (FIRST, SECOND)]
    progress(1, 4, "pictures of the null")
    places = np.concatenate([part_of[FIRST], part_of[SECOND]])
    images = test.part(places)
    pool = train.first_of_each_class(MOST_OF_A_CLASS).with_others(test.part(part_of[NULL]))
    background = Background(attack.distances(null.weights, images.rows, images.labels), images.labels)
    progress(2, 4, "pictures of tested heads")
    weights = torch.cat([heads.weights for heads in tested])
    distances, elsewhere = (attack.distances(weights, part.rows, part.labels) for part in (images, pool))
    member = np.concatenate([_members(heads.indices, places) for heads in tested])
    halves = np.repeat([FIRST, SECOND], half)
    stranger = (parts[places] == halves[:, None]) & ~member
    found = scores(distances, background, Pool(elsewhere, pool.labels))
    progress(3, 4, "rates")
    return Kind(
        rates(Attacked(images.labels, found, member, stranger, halves), subject.false_positive_rates), null, pool
    )


def _members(indices: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(T, n): which of the images at `places` (n,) trained each head, by indices (T, N)."""
    return (indices[:, :, None] == places).any(1)


@dataclass(frozen=True)
class Judged:
    """Of one head and its N private images: distance and score (N,); p_head, p_image (N,): ranks of that distance among
    the null's heads and among other images; known (N,): the adversary has the image already; error (N,) that the
    posterior expects of the features behind each picture; cosine (N,): of those features and the true ones; pictures,
    controls (N, C, S, S) bytes: the rebuilt image, and the adversary's image that is most like it, at control_distance
    (N,)."""

    distance: np.ndarray
    score: np.ndarray
    p_head: np.ndarray
    p_image: np.ndarray
    known: np.ndarray
    error: np.ndarray
    cosine: np.ndarray
    pictures: np.ndarray
    controls: np.ndarray
    control_distance: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))


def judge(attack: Attack, kind: Kind, train: Gallery, one: Audited) -> Judged:
    mine = Gallery(one.images, one.labels)
    background = Background(attack.distances(kind.null.weights, mine.rows, mine.labels), mine.labels)
    pool = Pool(attack.distances(one.weights[None], kind.pool.rows, kind.pool.labels), kind.pool.labels)
    distance = attack.distances(one.weights[None], mine.rows, mine.labels)
    others = [pool.distances[0][pool.labels == number] for number in one.labels]
    rebuilt = attack.rebuild(one.weights[None])
    slots = nearest_slots(attack, rebuilt.pictures[0], one)
    pictures = rebuilt.pictures[0][slots]
    true = attack.inversion.directions
    centred = [
        (rebuilt.features[0] / attack.inversion.whitening)[slots],
        one.features @ true - attack.inversion.means[slots],
    ]
    controls, control_distance = _most_alike(pictures, one.labels, kind.pool)
    return Judged(
        distance=distance[0],
        score=scores(distance, background, pool)[0],
        p_head=rank_among(distance[0], background.others),
        p_image=np.array([rank_among(own, theirs) for own, theirs in zip(distance[0], others, strict=True)]),
        known=train.holds(one.images),
        error=rebuilt.error[0][slots].numpy(),
        cosine=functional.cosine_similarity(*centred).numpy(),
        pictures=to_bytes(pictures).numpy(),
        controls=controls,
        control_distance=control_distance,
    )


def nearest_slots(attack: Attack, pictures: Tensor, one: Audited) -> Tensor:
    """(N,): the slot of the picture (N, C, S, S) that is nearest to each private image, among those of its class."""
    apart = (pictures.flatten(1)[None] - to_unit(one.images).flatten(1)[:, None]).square().mean(2)
    other_class = attack.classes[None] != torch.as_tensor(one.labels)[:, None]
    return apart.masked_fill(other_class, torch.inf).argmin(1)


def _most_alike(pictures: Tensor, labels: np.ndarray, pool: Gallery) -> tuple[np.ndarray, np.ndarray]:
    found, apart = [], []
    for picture, number in zip(pictures, labels, strict=True):
        theirs = pool.part(np.flatnonzero(pool.labels == number))
        distance = (theirs.rows - picture.flatten()).square().mean(1)
        found.append(theirs.images[distance.argmin()].numpy())
        apart.append(float(distance.min()))
    return np.array(found), np.array(apart)


def check_recipe(experiment: Experiment, one: Audited, purpose: tuple[str | int, ...]) -> tuple[Fit, Suspicion | None]:
    """How the head stands to heads retrained on its images by the recipe, and the recipe that explains it better."""
    training = experiment.shadow_models.training
    start_error = ROUNDING * float(one.weights.square().mean().sqrt())

    def retrained(other: Training, count: int) -> Fit | None:
        changed = experiment.model_copy(
            update={"shadow_models": experiment.shadow_models.model_copy(update={"training": other})}
        )
        recipe = Recipe(changed, one.features, one.labels)
        indices = np.tile(np.arange(len(one.labels)), (count, 1))
        try:
            labels = one.labels[indices].astype(np.int32)
            weights = recipe.train(indices, labels, purpose, start_error).float()
        except Failure:
            return None
        start = start_of(changed, len(one.labels))
        start = torch.zeros_like(one.weights) if start is None else start
        return compare(head_of(changed), one.weights, weights, start, one.features)

    told = retrained(training, experiment.subject.retrainings)
    if told is None:
        raise Failure("subject: training by shadow_models.training on the private images diverges")
    return told, suspect(training, told, lambda other: retrained(other, TRIED_HEADS))
