"""Published reconstructors and min-MSE tables as results of this attack's stages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.attack import Contents
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.evaluation.curves import LARGEST_MSE
from pipeline.networks.reconstructor import Reconstructor, from_published, is_of_earlier_layout
from pipeline.networks.state import PREFIX, state_arrays
from pipeline.published import deal, shaped
from pipeline.shadow import seeds
from pipeline.shadow.recipe import head_of
from pipeline.store import Result

if TYPE_CHECKING:
    from pipeline.config import Experiment


def reconstructor(experiment: "Experiment", shard: str, given: Contents) -> Result:
    """state: the network's; its width and the side of its images are the experiment's."""
    state, chosen, data = given["state"], experiment.reconstructor, experiment.data
    classes = deal(experiment, seeds.VICTIMS)[0].shape[1] // experiment.shadow_models.class_size
    classes = classes if shard == "conditional" else 0
    if not isinstance(state, Mapping) or getattr(state.get("convT.weight"), "ndim", 0) != 4:
        raise UserError("state: holds no convT.weight of four dimensions; expected the state dict of a reconstructor")
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


def min_mse(experiment: "Experiment", shard: str, given: Contents) -> Result:
    """h0 and, for each of the experiment's nulls, h1/<null> (h1 alone is the first): min-MSE tables (V, G)."""
    nulls = experiment.evaluation.nulls
    tables = {f"h1/{nulls[0]}" if name == "h1" else name: _columns(array) for name, array in given.items()}
    if lacking := [name for name in ("h0", *(f"h1/{null}" for null in nulls)) if name not in tables]:
        raise UserError(f"{lacking[0]}: is missing; give {lacking[0]}=FILE, or set evaluation.nulls to those you have")
    groups = tables["h0"].shape[1] if getattr(tables["h0"], "ndim", 0) == 2 else None
    arrays, means = {}, {}
    for name, table in tables.items():
        table = shaped(name, table, (None, groups), "victims by reconstructions").astype(np.float64)
        if not table.size:
            raise UserError(f"{name}: is empty, {table.shape}; expected victims by reconstructions")
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


def _whose(experiment: "Experiment", victims: int) -> dict[str, np.ndarray]:
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
