"""From the numbers of an audit to its report card: which heads are exposed, and what is said of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binom

from pipeline.audit.belonging import DESCRIBED, FARTHEST
from pipeline.audit.card import Card, Head, Image, Level, Recipe, Share
from pipeline.config import Experiment

Arrays = Mapping[str, np.ndarray]
FEW_UNTRAINED = -10.0
"""Deviations of the length of C, below which a head has hardly been trained."""


def card_of(experiment: Experiment, found: Arrays, suspicions: Sequence[str]) -> Card:
    """`found`: the arrays of the stage audit; `suspicions`: of each head, the recipe that explains it, or nothing."""
    levels = _levels(found)
    heads = [
        _head(number, path, found, levels, suspicion or None)
        for number, (path, suspicion) in enumerate(zip(experiment.subject.heads, suspicions, strict=True))
    ]
    return Card(
        experiment=experiment.title,
        verdict=verdict(heads, levels),
        threat_model=_threat_model(experiment),
        levels=levels,
        tested_heads=int(found["rates/recovered"][0].sum()),
        heads=heads,
        limits=_limits(experiment),
    )


def _levels(found: Arrays) -> list[Level]:
    columns = (found[f"rates/{name}"] for name in ("wanted", "threshold", "fpr", "tpr"))
    return [
        Level(
            false_positive_rate=float(rate),
            resolved=bool(np.isfinite(threshold)),
            measured_false_positive_rate=_share(fpr),
            share_of_images_rebuilt=_share(tpr),
        )
        for rate, threshold, fpr, tpr in zip(*columns, strict=True)
    ]


def _share(row: np.ndarray) -> Share:
    value, low, high = (float(number) for number in row)
    return Share(value=value, low=low, high=high)


def _head(number: int, path: str, found: Arrays, levels: list[Level], suspicion: str | None) -> Head:
    mine = {name.removeprefix("heads/"): table[number] for name, table in found.items() if name.startswith("heads/")}
    hits = mine["score"] <= found["rates/threshold"][:, None]
    unknown = ~mine["known"]
    recipe = _recipe(found, number, suspicion)
    images = [
        Image(
            number=place,
            class_name=mine["class_names"][place].decode(),
            rebuilt_at=[level.false_positive_rate for level, hit in zip(levels, hits[:, place], strict=True) if hit],
            known_to_adversary=bool(mine["known"][place]),
            distance=float(mine["distance"][place]),
            score=float(mine["score"][place]),
            p_head=float(mine["p_head"][place]),
            p_image=float(mine["p_image"][place]),
            expected_error=float(mine["error"][place]),
            feature_cosine=float(mine["cosine"][place]),
            distance_to_most_alike=float(mine["control_distance"][place]),
        )
        for place in range(len(mine["score"]))
    ]
    rebuilt, judged = [int(count) for count in (hits & unknown).sum(1)], int(unknown.sum())
    chance = [judged * level.measured_false_positive_rate.value for level in levels]
    conclusive = recipe.belongs and judged and levels[0].resolved
    exposed = conclusive and more_than_chance(rebuilt[0], levels[0], judged)
    return Head(
        file=Path(path).name,
        verdict="exposed" if exposed else "nothing found" if conclusive else "inconclusive",
        recipe=recipe,
        judged=judged,
        rebuilt=rebuilt,
        by_chance=chance,
        images=images,
    )


def more_than_chance(rebuilt: int, level: Level, judged: int) -> bool:
    """Whether so many of the images are rebuilt by chance in less than 5 % of heads, at the upper end of the rate."""
    return rebuilt > 0 and float(binom.sf(rebuilt - 1, judged, level.measured_false_positive_rate.high)) < 0.05


def _recipe(found: Arrays, number: int, suspicion: str | None) -> Recipe:
    distance = float(found["recipe/distance"][number])
    deviations = {name: float(value) for name, value in zip(DESCRIBED, found["recipe/deviations"][number], strict=True)}
    belongs = distance <= FARTHEST and suspicion is None
    return Recipe(
        belongs=belongs,
        distance=distance,
        deviations=deviations,
        likely=suspicion,
        said=_said_of_recipe(belongs, deviations, suspicion),
    )


def _said_of_recipe(belongs: bool, deviations: dict[str, float], suspicion: str | None) -> str:
    if belongs:
        return "the weights are as those of heads retrained on these images by this recipe"
    if suspicion:
        return f"heads retrained with {suspicion} would be like it (shadow_models.training)"
    if deviations["length"] < FEW_UNTRAINED:
        return "it has hardly moved from its initial weights: it was not trained, or by far shorter or smaller steps"
    if deviations["outside"] > FARTHEST:
        return (
            "its weights hold what is in none of these images: it was trained on others, or with another backbone or "
            "preprocessing (subject.images, backbone)"
        )
    return "no single change of learning_rate, epochs, weight_decay, momentum or initial weights explains it"


def percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def verdict(heads: Sequence[Head], levels: Sequence[Level]) -> str:
    """One sentence, or one for the heads of which nothing can be concluded besides."""
    sure = [head for head in heads if head.verdict != "inconclusive"]
    lost = [head for head in heads if head.verdict == "inconclusive"]
    sentences = []
    if sure:
        images, hits = sum(head.judged for head in sure), sum(head.rebuilt[0] for head in sure)
        of = f"the {images} training images" if len(sure) == 1 else f"{images} training images of {len(sure)} heads"
        chance = f"{sum(head.by_chance[0] for head in sure):.1f}"
        level = f"a false-positive rate of {percent(levels[0].false_positive_rate)}"
        if any(head.verdict == "exposed" for head in sure):
            sentences.append(
                f"{hits} of {of} can be rebuilt by somebody who knows the recipe; {chance} would be by chance, at "
                f"{level}."
            )
        else:
            sentences.append(
                f"No more of {of} than chance gives can be told from strangers: {hits}, and {chance} by chance, at "
                f"{level}. Of heads of this kind the attack rebuilds {levels[0].share_of_images_rebuilt} of the "
                "images; another attack may rebuild more."
            )
    if lost:
        reason = _why_lost(lost[0], levels)
        which = f"head {lost[0].file}" if len(lost) == 1 else f"{len(lost)} heads (first {lost[0].file})"
        sentences.append(f"Of {which} nothing can be concluded: {reason}.")
    return " ".join(sentences)


def _why_lost(head: Head, levels: Sequence[Level]) -> str:
    if not head.recipe.belongs:
        return f"recipe, images and weights do not belong together; {head.recipe.said}"
    if not head.judged:
        return "the adversary's images hold all of the private ones"
    return f"there are too few held-out images for a false-positive rate of {percent(levels[0].false_positive_rate)}"


def _threat_model(experiment: Experiment) -> str:
    training = experiment.shadow_models.training
    known = (
        "the initial weights themselves"
        if training.initial_weights
        else f"the law of the initial weights, which is {training.initial.replace('_', ' ')}"
    )
    return (
        f"The adversary holds the weights of the head, the backbone ({experiment.backbone.name}) and images like the "
        f"private ones ({experiment.data.title}). It knows how the head was trained (shadow_models.training), "
        f"{known}, and that every class had {experiment.shadow_models.class_size} image(s). It has none of the private "
        "images, and tries to rebuild them from the weights alone."
    )


def _limits(experiment: Experiment) -> list[str]:
    training = experiment.shadow_models.training
    limits = [
        "One attack was made, head inversion and a decoder; a stronger one may rebuild more.",
        "An image counts as rebuilt where the picture points to it among others of its class, by the mean squared "
        "error of pixels; whether it looks like the original is for people to judge.",
        "The rates are those of images like the adversary's; private images of another kind may fare otherwise.",
    ]
    if training.initial == "pytorch_default" and not training.initial_weights:
        limits.append(
            "Initial weights of PyTorch's default law are large beside what training adds, and hide it. They protect "
            "only while nobody knows them: by the seed or the initial weights themselves "
            "(shadow_models.training.initial_weights) the difference is attacked, and more is rebuilt."
        )
    return limits
