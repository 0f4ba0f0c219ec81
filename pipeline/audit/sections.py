"""The report card as a page: the verdict, every image beside what was rebuilt of it, and how sure that is."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from pipeline.audit.card import Card, Head, Level, Share
from pipeline.audit.findings import percent
from pipeline.report.page import Figure, Section
from pipeline.report.style import MARK_COLOUR
from pipeline.report.table import Interval, Table

ROWS = ("original", "rebuilt", "most alike")
COLUMNS = 10
"""Images side by side: on a narrow page more could not be seen."""


def sections(card: Card, arrays: Mapping[str, np.ndarray]) -> list[Section]:
    """`arrays`: what the stage audit stored."""
    return [
        Section("What was asked", card.threat_model),
        heads_section(card),
        *(images_section(card, number, arrays) for number in range(len(card.heads))),
        rates_section(card),
        recipe_section(card),
        Section("Limits", " ".join(card.limits)),
    ]


def _cell(share: Share) -> Interval:
    return Interval(share.value, share.low, share.high)


def _level(level: Level) -> str:
    return f"FPR {percent(level.false_positive_rate)}"


def heads_section(card: Card) -> Section:
    rows = [
        [
            head.file,
            head.verdict,
            *(f"{count} of {head.judged}" for count in head.rebuilt),
            f"{head.by_chance[0]:.2f}",
            f"{np.mean([image.expected_error for image in head.images]):.2f}",
        ]
        for head in card.heads
    ]
    levels = [f"rebuilt at {_level(level)}" for level in card.levels]
    columns = ["head", "verdict", *levels, f"by chance at {_level(card.levels[0])}", "expected error"]
    warnings = [
        f"{head.file}: nothing can be concluded; {head.recipe.said}." for head in card.heads if not head.recipe.belongs
    ]
    warnings += [
        f"a {_level(level)} is finer than the held-out images can set a threshold for; nothing counts as rebuilt at it."
        for level in card.levels
        if not level.resolved
    ]
    text = (
        "Exposed: more images are rebuilt than chance gives. Inconclusive: recipe, images and weights do not belong "
        "together, and the counts mean nothing. Expected error: the squared error of the features behind the pictures, "
        "as the adversary expects it without the originals; at 1 the head tells no more than the class."
    )
    return Section("Heads", text, [Table(columns, rows, "heads")], warnings=warnings)


def images_section(card: Card, number: int, arrays: Mapping[str, np.ndarray]) -> Section:
    """One head's images."""
    head, names = card.heads[number], [f"{_level(level)}" for level in card.levels]
    rows = [
        [
            image.class_name,
            _said(image.rebuilt_at, image.known_to_adversary),
            f"{image.distance:.4f}",
            f"{image.p_head:.4f}",
            f"{image.p_image:.4f}",
            f"{image.distance_to_most_alike:.4f}",
            f"{image.expected_error:.2f}",
        ]
        for image in head.images
    ]
    columns = ["image", "rebuilt", "distance", "p, heads", "p, images", "most alike", "expected error"]
    pictures = (arrays[f"heads/{name}"][number] for name in ("originals", "pictures", "controls"))
    caption = (
        f"{head.file}: the private images, what was rebuilt of each, and the adversary's own image that is most like "
        f"the picture. Framed: rebuilt at {names[0]}."
    )
    drawing = sheet(*pictures, np.array([bool(image.rebuilt_at) for image in head.images]))
    text = (
        "Distances are mean squared errors of pixels in [-1, 1], from the rebuilt picture to the original and to the "
        "adversary's image that is most like it. p, heads: the rank of that distance among pictures of heads that "
        "never saw the image. p, images: its rank among distances from this picture to other images of the class."
    )
    title = f"Images of {head.file}" + ("" if head.recipe.belongs else " (inconclusive)")
    figure = Figure.of(drawing, caption, f"images_{number}")
    return Section(title, text if number == 0 else "", [Table(columns, rows, f"images_{number}")], [figure])


def _said(rebuilt_at: Sequence[float], known: bool) -> str:
    if known:
        return "not judged: the adversary has it"
    return f"yes, at FPR {percent(min(rebuilt_at))}" if rebuilt_at else "no"


def sheet(originals: np.ndarray, rebuilt: np.ndarray, controls: np.ndarray, hits: np.ndarray) -> Drawing:
    """Three rows of images (N, C, S, S) uint8, as many times as COLUMNS asks for; `hits` (N,) are framed."""
    blocks = -(-len(originals) // COLUMNS)
    columns = min(COLUMNS, len(originals))
    figure = Drawing(figsize=(0.7 * columns + 0.8, 2.2 * blocks))
    axes = figure.subplots(3 * blocks, columns, squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
        cell.grid(False)
        for spine in cell.spines.values():
            spine.set_visible(False)
    for place in range(len(originals)):
        block, column = divmod(place, columns)
        for row, images in enumerate((originals, rebuilt, controls)):
            cell = axes[3 * block + row, column]
            cell.imshow(images[place].transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
            if column == 0:
                cell.set_ylabel(ROWS[row], rotation=0, ha="right", va="center", fontsize=8)
            if row == 1 and hits[place]:
                for spine in cell.spines.values():
                    spine.set(visible=True, color=MARK_COLOUR, linewidth=2)
    return figure


def rates_section(card: Card) -> Section:
    rows = [
        [
            percent(level.false_positive_rate),
            _cell(level.measured_false_positive_rate),
            _cell(level.share_of_images_rebuilt),
        ]
        for level in card.levels
    ]
    columns = ["wanted FPR", "strangers called rebuilt", "training images called rebuilt"]
    text = (
        f"{card.tested_heads} heads were trained by the recipe on the adversary's held-out images, none of them "
        "private, and attacked in the same way: these are the rates of heads of this kind, by which one head's luck "
        "can be told from its kind's risk. Strangers are other images of the same classes. Thresholds are from one "
        "half of the heads and rates from the other, which shares no image with it. Intervals are 95 %; images are the "
        "independent unit, both those that left a picture and those that it is held against."
    )
    return Section("Heads of this kind", text, [Table(columns, rows, "rates")])


def recipe_section(card: Card) -> Section:
    rows = [_recipe_row(head) for head in card.heads]
    names = list(card.heads[0].recipe.deviations)
    text = (
        "Each head is held against heads retrained by the recipe on the same images: the size of its weights outside "
        "the span of the images' features and how much of that is one direction, the size of the coefficients inside "
        "it, and how far these are from the mean. Numbers are deviations of the retrained heads; distance is all of "
        "them together. What the retrained heads do not explain is tried again with one key of the recipe changed."
    )
    columns = ["head", "belongs", *names, "distance", "likely recipe"]
    return Section("Do recipe, images and weights belong together?", text, [Table(columns, rows, "recipe")])


def _recipe_row(head: Head) -> list[object]:
    recipe = head.recipe
    deviations = [f"{value:.1f}" for value in recipe.deviations.values()]
    likely = recipe.likely or ("as told" if recipe.belongs else "none found")
    return [head.file, "yes" if recipe.belongs else "no", *deviations, f"{recipe.distance:.1f}", likely]
