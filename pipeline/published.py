"""Artefacts of others' runs, in the published formats, as results of this project's stages.

`.npy`: weights of shadow models or victims (M, P), flat in the order weight, bias, layer by layer; their mean and
standard deviation (P,) or (1, P), and the covariance of standardised weights (P, P); min-MSE tables (V, G), or (V,)
with one reconstruction a victim; deep features (n, D). `.pth`: a reconstructor's state dict, under its published names
(convT, model.0.model.0 …, final) or this project's. What does not fit the experiment, or is not finite, is refused
with UserError.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.attack import Contents, Reader
from pipeline.attacks import ATTACKS
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.fingerprint import digest_of, fingerprint
from pipeline.head_inversion import lessons
from pipeline.head_inversion.settings import inverts_heads
from pipeline.networks.settings import FEATURES
from pipeline.shadow import seeds
from pipeline.shadow.recipe import head_of
from pipeline.store import Result

if TYPE_CHECKING:
    from pipeline.config import Experiment

ROUNDING = 0.02
"""Published correlations are of samples, standardised by deviations that were rounded."""


def described(paths: Mapping[str, Path]) -> str:
    """Name and SHA-256 of every file."""
    return ", ".join(f"{path.name} (sha256 {digest_of(path)})" for path in paths.values())


def digest_of_all(paths: Mapping[str, Path]) -> str:
    """One digest of what all files hold, and as what each was given."""
    return fingerprint({name: digest_of(path) for name, path in paths.items()})


def shaped(name: str, array: np.ndarray, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    fits = isinstance(array, np.ndarray) and array.ndim == len(shape)
    if not fits or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        found = f"the shape {array.shape}" if isinstance(array, np.ndarray) else "no array in it"
        wanted = tuple("any" if want is None else want for want in shape)
        raise UserError(f"{name}: has {found}; expected {str(wanted).replace(chr(39), '')}, {what}")
    return array


def _one_row(array: np.ndarray) -> np.ndarray:
    """Published statistics are stored (1, P)."""
    return array[0] if isinstance(array, np.ndarray) and array.ndim == 2 and len(array) == 1 else array


def deal(experiment: "Experiment", shard: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices and labels (M, N) of a shard's training sets: the published deal, which its permutation seed fixes."""
    source = load(seeds.data_of(experiment, shard), seeds.split_of(shard), experiment.paths.data_root)
    return seeds.deal(experiment, shard, source.labels)


def deep_features(experiment: "Experiment", shard: str, given: Contents) -> Result:
    """features (n, D) of a split's images, in its order; labels (n,), if given, must be those of the images here."""
    seed = lessons.seeds_by_features(experiment)[shard]
    if seed.startswith("augmented"):
        raise UserError(
            f"{shard}: augmented copies are drawn here and have no features elsewhere; set "
            "head_inversion.augmentation: null, or name the backbone's file in backbone.weights"
        )
    source = load(seeds.data_of(experiment, seed), seeds.split_of(seed), experiment.paths.data_root)
    shape = len(source), FEATURES[experiment.backbone.name]
    features = shaped("features", given["features"], shape, f"images and features of {experiment.backbone.name}")
    if "labels" in given:
        labels = shaped("labels", _flat(given["labels"]), (len(source),), "one for each image")
        if wrong := int((labels != source.labels).sum()):
            raise UserError(f"labels: {wrong} of {len(labels)} are not those of {shard}; are the images in its order?")
    facts = {"data": seeds.data_of(experiment, seed).name, "split": seeds.split_of(seed), "images": len(source)}
    return Result({"features": features.astype(np.float32), "labels": source.labels}, facts)


def _flat(labels: np.ndarray) -> np.ndarray:
    """(n, 1) as (n,)."""
    return labels[:, 0] if isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.shape[1] == 1 else labels


def shadow_models(experiment: "Experiment", shard: str, given: Contents) -> Result:
    """weights: those of one permutation seed, in the order of its deal."""
    if (
        seeds.is_training(shard)
        and inverts_heads(experiment)
        and lessons.first_seed(experiment) == seeds.training_seed(0)
    ):
        raise UserError(
            f"{shard}: teaches head inversion here, which also needs how each weight was made of features; set "
            "reconstructor.reads=weights"
        )
    indices, labels = deal(experiment, shard)
    shape = len(indices), head_of(experiment).size
    weights = shaped("weights", given["weights"], shape, f"models and weights of {shard}").astype(np.float32)
    return Result(
        {"weights": weights, "indices": indices, "labels": labels}, {"models": shape[0], "parameters": shape[1]}
    )


def weight_stats(experiment: "Experiment", shard: str, given: Contents) -> Result:
    """mean, deviation and, where the experiment draws H1 from it, correlation. Weights that never vary are dropped."""
    size = head_of(experiment).size
    mean, deviation = (
        shaped(name, _one_row(given[name]), (size,), "one for each weight").astype(np.float64)
        for name in ("mean", "deviation")
    )
    if (deviation < 0).any():
        raise UserError(f"deviation: {int((deviation < 0).sum())} of {size} numbers are negative")
    kept = deviation > 0
    if not kept.any():
        raise UserError(f"deviation: all {size} numbers are 0; expected the deviations of weights that vary")
    arrays = {"kept": kept, "mean": mean[kept], "deviation": deviation[kept]}
    if experiment.evaluation.correlates:
        if "correlation" not in given:
            raise UserError("correlation: evaluation.nulls asks for it; give correlation=FILE, or leave that null out")
        square = shaped("correlation", given["correlation"], (None, None), "weights by weights")
        if square.shape[0] == size:
            square = square[np.ix_(kept, kept)]
        arrays["correlation"] = _correlation(square, int(kept.sum()))
    return Result(arrays, {"dropped_weights": int((~kept).sum())})


def _correlation(given: np.ndarray, size: int) -> np.ndarray:
    """The covariance of standardised weights: symmetric, with ones on its diagonal up to their rounding."""
    square = shaped("correlation", given, (size, size), "weights by weights").astype(np.float32)
    if (wrong := np.abs(square.diagonal() - 1).max()) > ROUNDING:
        raise UserError(f"correlation: its diagonal is to be 1, and is off by up to {wrong:.2g}")
    if (wrong := np.abs(square - square.T).max()) > ROUNDING:
        raise UserError(f"correlation: is not symmetric, by up to {wrong:.2g}")
    return square


def readers() -> dict[str, Reader]:
    """Stage → how its shards are made of files: of the stages that attacks share, and of each attack's own."""
    found = {
        "deep_features": Reader(deep_features, ("features", "labels")),
        "shadow_models": Reader(shadow_models, ("weights",)),
        "weight_stats": Reader(weight_stats, ("mean", "deviation", "correlation")),
    }
    for attack in ATTACKS:
        found |= attack.readers()
    return found
