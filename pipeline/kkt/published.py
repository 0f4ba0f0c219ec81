"""Reconstructions of the published programs (arXiv 2206.07758, 2307.01827) as a shard of the attack."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.kkt.multipliers import candidate_labels
from pipeline.kkt.problems import load_problem
from pipeline.kkt.search import hyperparameters
from pipeline.store import Result

if TYPE_CHECKING:
    from pipeline.config import Experiment


def reconstructions(experiment: "Experiment", shard: str, given: Mapping[str, object]) -> Result:
    """candidates: `x.pth`, (m, C, H, W), or (S, m, C, H, W) of a stack of trials; multipliers, if at hand: `l.pth`.

    Candidates are stored as published: the training mean taken off, half of them or an equal share of each class, in
    blocks. Hyper-parameters are the experiment's; the loss is not known, and there is no history. Raises UserError
    for other shapes.
    """
    kkt, first = experiment.kkt, int(shard.removeprefix("trials-"))
    trials = range(first, min(first + kkt.attack.stack, kkt.search.trials))
    problem = load_problem(kkt.problem, experiment.data, experiment.paths.data_root, experiment.seed)
    labels = candidate_labels(kkt.attack.candidates, problem.classes)
    shape = (len(trials), len(labels), *problem.mean.shape)
    arrays = {
        "trials": np.array(trials),
        "candidates": _shaped("candidates", given["candidates"], shape, "trials, candidates, channels, height, width"),
        "labels": np.full(len(labels), -1) if kkt.attack_loss == "general" else labels.numpy(),
        "history/iteration": np.empty(0, np.int64),
        "history/stationarity": np.empty((0, len(trials))),
        "terms/stationarity": np.full(len(trials), np.nan),
    }
    rows = [hyperparameters(kkt.attack, kkt.search, trial, experiment.seed) for trial in trials]
    arrays |= {f"hyperparameters/{name}": np.array([row[name] for row in rows], kkt.attack.dtype) for name in rows[0]}
    if "multipliers" in given:
        several = (problem.classes,) if kkt.attack_loss == "full" else ()
        shape = (*shape[:2], *several)
        arrays["multipliers"] = _shaped("multipliers", given["multipliers"], shape, "trials and candidates")
    facts = {"loss": kkt.attack_loss, "method": "imported", "trials_started": len(trials), "diverged": []}
    return Result(arrays, {**facts, "stopped": []})


def _shaped(name: str, content: object, shape: tuple[int, ...], what: str) -> np.ndarray:
    """As float32 (S, …); a lone trial may come without its axis, multipliers as a column."""
    if isinstance(content, Mapping):
        raise UserError(f"{name}: holds a dictionary; expected one tensor of the shape {shape}, {what}")
    found = torch.as_tensor(content).detach().float()
    if found.numel() == np.prod(shape) and found.shape in (shape, shape[1:], (*shape, 1), (*shape[1:], 1)):
        return found.reshape(shape).numpy()
    raise UserError(f"{name}: has the shape {tuple(found.shape)}; expected {shape}, {what} (see kkt.attack.candidates)")
