"""Artefacts of others' runs, in the published formats, as results of this project's stages.

`.npy`: weights of shadow models or victims (M, P), flat in the order weight, bias, layer by layer; their mean and
standard deviation (P,) or (1, P), and the covariance of standardised weights (P, P); min-MSE tables (V, G), or (V,)
with one reconstruction a victim; deep features (n, D). `.pth`: a reconstructor's state dict, under its published names
(convT, model.0.model.0 …, final) or this project's. What does not fit the experiment, or is not finite, is refused
with UserError.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from pipeline.config import Experiment
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.evaluation.curves import LARGEST_MSE
from pipeline.fingerprint import digest_of, fingerprint
from pipeline.kkt.published import reconstructions
from pipeline.networks.reconstructor import Reconstructor, from_published, is_of_earlier_layout
from pipeline.networks.settings import FEATURES
from pipeline.networks.state import PREFIX, state_arrays
from pipeline.shadow import seeds
from pipeline.shadow.recipe import head_of
from pipeline.store import Result

Contents = Mapping[str, np.ndarray | Mapping[str, torch.Tensor]]


def described(paths: Mapping[str, Path]) -> str:
    """Name and SHA-256 of every file."""
    return ", ".join(f"{path.name} (sha256 {digest_of(path)})" for path in paths.values())


def digest_of_all(paths: Mapping[str, Path]) -> str:
    """One digest of what all files hold, and as what each was given."""
    return fingerprint({name: digest_of(path) for name, path in paths.items()})


def _shaped(name: str, array: np.ndarray, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    fits = isinstance(array, np.ndarray) and array.ndim == len(shape)
    if not fits or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        found = f"the shape {array.shape}" if isinstance(array, np.ndarray) else "no array in it"
        wanted = tuple("any" if want is None else want for want in shape)
        raise UserError(f"{name}: has {found}; expected {str(wanted).replace(chr(39), '')}, {what}")
    return array


def _one_row(array: np.ndarray) -> np.ndarray:
    """Published statistics are stored (1, P)."""
    return array[0] if isinstance(array, np.ndarray) and array.ndim == 2 and len(array) == 1 else array


def deal(experiment: Experiment, shard: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices and labels (M, N) of a shard's training sets: the published deal, which its permutation seed fixes."""
    source = load(seeds.data_of(experiment, shard), seeds.split_of(shard), experiment.paths.data_root)
    return seeds.deal(experiment, shard, source.labels)


def deep_features(experiment: Experiment, shard: str, given: Contents) -> Result:
    """features (n, D) of a split's images, in its order; labels (n,), if given, must be those of the images here."""
    seed = seeds.by_features(experiment)[shard]
    if seed.startswith("augmented"):
        raise UserError(
            f"{shard}: augmented copies are drawn here and have no features elsewhere; set "
            "head_inversion.augmentation: null, or name the backbone's file in backbone.weights"
        )
    source = load(seeds.data_of(experiment, seed), seeds.split_of(seed), experiment.paths.data_root)
    shape = len(source), FEATURES[experiment.backbone.name]
    features = _shaped("features", given["features"], shape, f"images and features of {experiment.backbone.name}")
    if "labels" in given:
        labels = _shaped("labels", _flat(given["labels"]), (len(source),), "one for each image")
        if wrong := int((labels != source.labels).sum()):
            raise UserError(f"labels: {wrong} of {len(labels)} are not those of {shard}; are the images in its order?")
    facts = {"data": seeds.data_of(experiment, seed).name, "split": seeds.split_of(seed), "images": len(source)}
    return Result({"features": features.astype(np.float32), "labels": source.labels}, facts)


def _flat(labels: np.ndarray) -> np.ndarray:
    """(n, 1) as (n,)."""
    return labels[:, 0] if isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.shape[1] == 1 else labels


def shadow_models(experiment: Experiment, shard: str, given: Contents) -> Result:
    """weights: those of one permutation seed, in the order of its deal."""
    indices, labels = deal(experiment, shard)
    shape = len(indices), head_of(experiment).size
    weights = _shaped("weights", given["weights"], shape, f"models and weights of {shard}").astype(np.float32)
    return Result(
        {"weights": weights, "indices": indices, "labels": labels}, {"models": shape[0], "parameters": shape[1]}
    )


def weight_stats(experiment: Experiment, shard: str, given: Contents) -> Result:
    """mean, deviation and, where the experiment draws H1 from it, correlation. Weights that never vary are dropped."""
    size = head_of(experiment).size
    mean, deviation = (
        _shaped(name, _one_row(given[name]), (size,), "one for each weight").astype(np.float64)
        for name in ("mean", "deviation")
    )
    if (deviation < 0).any():
        raise UserError(f"deviation: {int((deviation < 0).sum())} of {size} numbers are negative")
    kept = deviation > 0
    arrays = {"kept": kept, "mean": mean[kept], "deviation": deviation[kept]}
    if experiment.evaluation.correlates:
        if "correlation" not in given:
            raise UserError("correlation: evaluation.nulls asks for it; give correlation=FILE, or leave that null out")
        square = _shaped("correlation", given["correlation"], (None, None), "weights by weights")
        if square.shape[0] == size:
            square = square[np.ix_(kept, kept)]
        arrays["correlation"] = _shaped("correlation", square, (int(kept.sum()),) * 2, "weights by weights").astype(
            np.float32
        )
    return Result(arrays, {"dropped_weights": int((~kept).sum())})


def reconstructor(experiment: Experiment, shard: str, given: Contents) -> Result:
    """state: the network's; its width and the side of its images are the experiment's."""
    state, chosen, data = given["state"], experiment.reconstructor, experiment.data
    classes = deal(experiment, seeds.VICTIMS)[0].shape[1] // experiment.shadow_models.class_size
    classes = classes if shard == "conditional" else 0
    if not isinstance(state, Mapping) or "convT.weight" not in state:
        raise UserError("state: holds no convT.weight; expected a .pth with the state dict of a reconstructor")
    inputs, size = state["convT.weight"].shape[0] - classes, head_of(experiment).size
    if not 0 < inputs <= size:
        raise UserError(
            f"state: takes {inputs + classes} numbers, but a {shard} reconstructor takes the {size} weights of a head "
            f"(fewer where some never vary) and {classes} classes"
        )
    network = Reconstructor(inputs, data.channels, data.image_size, chosen.width, classes)
    if is_of_earlier_layout(state):
        raise UserError(
            "state: is a reconstructor that this project trained before its by-passes were the published ones; train "
            "it again"
        )
    try:
        network.load_state_dict(state if "final.2.weight" in state else from_published(state))
    except UserError as error:
        raise UserError(f"state: {error}") from error
    except RuntimeError as error:
        why = " ".join(str(error).split()[6:])[:160]
        raise UserError(f"state: is not that of a reconstructor of width {chosen.width}: {why}") from error
    arrays = state_arrays(network)
    best = {f"best/{name.removeprefix(PREFIX)}": array for name, array in arrays.items()}  # the one there is
    return Result(arrays | best, {"classes": classes})


def _columns(array: np.ndarray) -> np.ndarray:
    """Unconditional tables are published with one number a victim."""
    return array[:, None] if isinstance(array, np.ndarray) and array.ndim == 1 else array


def min_mse(experiment: Experiment, shard: str, given: Contents) -> Result:
    """h0 and, for each of the experiment's nulls, h1/<null> (h1 alone is the first): min-MSE tables (V, G)."""
    nulls = experiment.evaluation.nulls
    tables = {f"h1/{nulls[0]}" if name == "h1" else name: _columns(array) for name, array in given.items()}
    if lacking := [name for name in ("h0", *(f"h1/{null}" for null in nulls)) if name not in tables]:
        raise UserError(f"{lacking[0]}: is missing; give {lacking[0]}=FILE, or set evaluation.nulls to what there is")
    groups = tables["h0"].shape[1] if getattr(tables["h0"], "ndim", 0) == 2 else None
    arrays, means = {}, {}
    for name, table in tables.items():
        table = _shaped(name, table, (None, groups), "victims by reconstructions").astype(np.float64)
        if ((table < 0) | (table > LARGEST_MSE)).any():
            raise UserError(
                f"{name}: an MSE between images in [-1, 1] lies in 0 … 4; found {table.min():g} … {table.max():g}"
            )
        arrays[f"{name}/min_mse"] = table if name == "h0" else table[:, None]
        means[f"mean_{name.replace('/', '_')}"] = float(table.mean())
    arrays |= _whose(experiment, len(tables["h0"]))
    lengths = {name: len(table) for name, table in tables.items()}
    if experiment.shadow_models.test_seeds > 1 and len(set(lengths.values())) > 1:
        raise UserError(f"h1: several test seeds need as many victims in every table; found {lengths}")
    return Result(
        arrays, {**means, "lpips": "Only min-MSE tables were imported: there are no pictures and no other metrics"}
    )


def _whose(experiment: Experiment, victims: int) -> dict[str, np.ndarray]:
    """h0/seed (V,) of as many victims of each test seed, and, of identities, h0/person (V,) by the published deal."""
    shadow, by_person = experiment.shadow_models, experiment.task.kind == "identity"
    each, left = divmod(victims, shadow.test_seeds)
    if left or (by_person and each > shadow.test_models):
        raise UserError(
            f"h0: has {victims} victims; expected as many of each of shadow_models.test_seeds = {shadow.test_seeds} "
            f"seeds, about identities at most test_models = {shadow.test_models}"
        )
    found = {"h0/seed": np.repeat(np.arange(shadow.test_seeds), each)}
    if not by_person:
        return found
    people = load(experiment.data, "test", experiment.paths.data_root).labels
    own = [seeds.deal(experiment, shard, people)[0][:each, 0] for shard in seeds.scored(experiment)]
    return found | {"h0/person": people[np.concatenate(own)]}


READERS = {
    "deep_features": (deep_features, ("features", "labels")),
    "shadow_models": (shadow_models, ("weights",)),
    "weight_stats": (weight_stats, ("mean", "deviation", "correlation")),
    "reconstructor": (reconstructor, ("state",)),
    "min_mse": (min_mse, ("h0", "h1")),
    "kkt_attack": (reconstructions, ("candidates", "multipliers")),
}
"""Stage → how its shards are made of files, and the names of those."""
