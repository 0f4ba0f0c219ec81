"""The reconstructor as an attack: training images from the weights of a transfer-learned head."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.attack import Attack, Finished, Part, Reader
from pipeline.head_inversion.settings import HeadInversion, inverts_heads
from pipeline.networks.settings import SIDES
from pipeline.reconstruction.settings import Reconstructor

if TYPE_CHECKING:
    from pipeline.config import Experiment
    from pipeline.report.page import Chapter
    from pipeline.report.table import Table
    from pipeline.store import Shards


def refuse(experiment: "Experiment") -> None:
    if experiment.reconstructor and not experiment.shadow_models:
        raise ValueError("reconstructor needs the part shadow_models")
    chosen, size = experiment.reconstructor, experiment.data and experiment.data.image_size
    if chosen and chosen.network == "published" and size not in SIDES:
        raise ValueError(
            f"data.size: the published reconstructor makes images of {', '.join(map(str, SIDES))} pixels a side, not "
            f"{size}; choose one of these, or reconstructor.network: fully_connected"
        )
    if inverts_heads(experiment) and not experiment.shadow_models.training.in_sample_space:
        raise ValueError(
            "reconstructor.reads: features needs heads trained by gradient descent (shadow_models.training "
            "optimizer: sgd, engine: auto): others leave the span of their training images; use reads: weights"
        )


def describe(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> list[str]:
    return []


def chapter(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> "Chapter":
    """Of every mode; then, where they are, adversaries without the model, what private training claims, what inverting
    the heads recovered and the nearest-neighbour threshold."""
    from pipeline.data.images import target_images
    from pipeline.data.sources import load
    from pipeline.head_inversion.section import section as recovered_features
    from pipeline.privacy.section import section as privacy_section
    from pipeline.reconstruction.baselines import section as baselines_section
    from pipeline.reconstruction.chapter import Outcome, chapter_of_mode, threshold_section
    from pipeline.report.page import Chapter

    data, roc, min_mse = experiment.data, inputs["roc"], inputs["min_mse"]
    images = target_images(load(data, "test", experiment.paths.data_root), data.image_size).numpy()
    chapters, baselines, privacy, recovered = [], [], [], []
    for mode in roc.names:
        outcome = Outcome.of(mode, min_mse, roc)
        chapters.append(chapter_of_mode(outcome, images, experiment.evaluation.sheet_victims))
        if "baselines" in inputs:
            baselines.append(baselines_section(outcome, inputs["baselines"].read(mode)))
        if "privacy" in inputs:
            found, facts = inputs["privacy"].read(mode), inputs["privacy"].attributes(mode)
            privacy.append(privacy_section(outcome.roc, found, facts, list(experiment.evaluation.nulls), mode))
        if inverts_heads(experiment) and "features/found" in outcome.scores:
            facts = inputs["head_inversion"].attributes("inversion")
            recovered.append(recovered_features(outcome.scores, facts, outcome.threshold, mode))
    if "nearest_neighbour" in inputs:
        recovered.append(threshold_section(inputs["nearest_neighbour"]))
    return Chapter(
        [*(section for chapter in chapters for section in chapter.sections), *baselines, *privacy, *recovered],
        "; ".join(chapter.answer for chapter in chapters),
        [table for chapter in chapters for table in chapter.beside],
    )


def summarise(finished: Sequence[Finished]) -> "Table":
    """One row per experiment and mode: what was trained, at what cost in privacy, and the pooled rates."""
    from pipeline.reconstruction.chapter import comparison

    return comparison(finished)


def readers() -> dict[str, Reader]:
    from pipeline.reconstruction.published import min_mse, reconstructor

    return {"reconstructor": Reader(reconstructor, ("state",)), "min_mse": Reader(min_mse, ("h0", "h1"))}


ATTACK = Attack(
    name="reconstructor",
    parts={"head_inversion": Part(HeadInversion, HeadInversion()), "reconstructor": Part(Reconstructor)},
    stages=("head_inversion", "reconstructor", "min_mse", "baselines", "roc", "privacy"),
    is_made=lambda experiment: experiment.reconstructor is not None,
    refuse=refuse,
    describe=describe,
    chapter=chapter,
    summarise=summarise,
    readers=readers,
    curves=("AUC", "TPR at FPR 1 %", "TPR at threshold"),
)
