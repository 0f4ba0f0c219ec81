"""What a KKT attack found, read from its shards: hits by every rule, who is identified, the answer in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.kkt.analysis.identification import Identification, Rate
from pipeline.kkt.analysis.match import HIT
from pipeline.store import Shards

SOURCES = {
    "attack": "attack",
    "first_layer": "first layer's weights",
    "held_out": "null: test images",
    "noise": "null: noise",
    "mean_image": "null: mean image",
}
NULLS = ("held_out", "noise", "mean_image")
COUNTED = {"ssim": (0.4,), "correlation": (0.8, 0.9, 0.98)}
TITLES = {
    "ssim": "SSIM",
    "correlation": "correlation",
    "ncc": "NCC distance",
    "l2": "Euclidean distance",
    "psnr": "PSNR in dB",
}
DISTANCES = ("ncc", "l2")
"""Scores of which less is better."""
COLOUR_HIT = 0.1
"""Largest error of a channel at which a single pixel counts as recovered."""


@dataclass(frozen=True)
class Findings:
    """Arrays and attributes of the analysis, and attributes of the victim."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, object]
    victim: Mapping[str, object]

    @property
    def structured(self) -> bool:
        """Whether the images have a structure that SSIM can compare."""
        return not np.isnan(self.arrays["mean_image/ssim"]).all()

    @property
    def score(self) -> str:
        """What images are identified, ranked and pictured by."""
        return str(self.facts["identify_by"]) if self.structured else "psnr"

    @property
    def rule(self) -> str:
        """What counts as a good reconstruction."""
        return f"{TITLES[self.score]} > {HIT[self.score]}"

    @property
    def sources(self) -> list[str]:
        return [source for source in SOURCES if f"{source}/ssim" in self.arrays]

    def identification(self, source: str) -> Identification | None:
        names = (f"{source}/identified", f"{source}/stand_in_identified")
        if names[0] not in self.arrays:
            return None
        return Identification(*(self.arrays[name] for name in names), int(self.facts["decoys"]))


def findings(victim: Shards, analysis: Shards) -> Findings:
    """From the stored victim and the stored analysis."""
    return Findings(analysis.read("analysis"), analysis.attributes("analysis"), victim.attributes("victim"))


def counts(found: Findings, source: str) -> dict[str, int]:
    """Hits of a source by every rule: SSIM and correlation, or the error of single pixels."""
    if not found.structured:
        return {f"error ≤ {COLOUR_HIT}": int((found.arrays[f"{source}/max_error"] <= COLOUR_HIT).sum())}
    return {
        f"{TITLES[name]} > {bound}": int((found.arrays[f"{source}/{name}"] > bound).sum())
        for name, bounds in COUNTED.items()
        for bound in bounds
    }


def oracle(found: Findings) -> dict[float, float]:
    """Sharpness → loss at the true data; empty where it was not worked out."""
    pairs = found.arrays.get("oracle", np.empty((0, 2)))
    return {float(sharpness): float(loss) for sharpness, loss in pairs if np.isfinite(loss)}


def class_errors(found: Findings) -> dict[int, float]:
    """Of single pixels: class → the least error to which a candidate meets one of its training images."""
    labels, errors = found.arrays["labels"], found.arrays["attack/max_error"]
    return {int(label): float(np.nanmin(errors[labels == label])) for label in np.unique(labels)}


def answer(found: Findings) -> str:
    """The attack in a sentence: who is identified, and the hits beside those of the best null."""
    told = []
    if identification := found.identification("attack"):
        rate = Rate.of(identification.identified)
        nulls = [null for source in NULLS if (null := found.identification(source))]
        best_null = max(Rate.of(null.identified).count for null in nulls)
        told.append(
            f"{rate.count} of {rate.total} training images identified among {identification.decoys} unlearnt ones of "
            f"their class each ({100 * rate.value:.0f} %, interval {100 * rate.low:.0f} … {100 * rate.high:.0f} %; "
            f"chance {100 * identification.chance:.0f} %), {'' if identification.is_above() else 'not '}above chance "
            f"and {'' if identification.is_above(nulls) else 'not '}above the best null ({best_null} of {rate.total})"
        )
    if not found.structured:
        told += [f"class {label} met within {error:.4f}" for label, error in class_errors(found).items()]
        return "; ".join(told)
    count, most = counts(found, "attack")[found.rule], max(counts(found, source)[found.rule] for source in NULLS)
    told.append(f"{count} with {found.rule}, {most} for the best null")
    return "; ".join(told)
