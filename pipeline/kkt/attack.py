"""The attack's loop: a stack of trials descends together; trials that diverge, or lose at a halving, are dropped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoint import Checkpoint
from pipeline.kkt.multipliers import first_multipliers
from pipeline.kkt.objectives import Evaluation, Objective
from pipeline.kkt.optimizers import MOMENTS, cosine, step
from pipeline.kkt.search import better_half, hyperparameters, sound
from pipeline.kkt.settings import AttackSettings, SearchSettings
from pipeline.randomness import torch_generator
from pipeline.unattended import NO_CHECKPOINT, silent

RECORDS = 200
"""Iterations at which the terms of the loss are recorded and trials are checked."""


@dataclass(frozen=True)
class Stack:
    """Trials (S,) that go on, and everything that belongs to them along the first axis."""

    trials: Tensor
    hyperparameters: dict[str, Tensor]
    candidates: Tensor
    multipliers: Tensor
    candidate_moments: list[Tensor]
    multiplier_moments: list[Tensor]

    def __len__(self) -> int:
        return len(self.trials)

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of trials, candidates and multipliers, on the CPU."""
        parts = {"trials": self.trials, "candidates": self.candidates, "multipliers": self.multipliers}
        return {name: part.detach().cpu().clone() for name, part in parts.items()}

    def keep(self, places: Tensor) -> "Stack":
        """The trials at these places alone."""
        return Stack(
            self.trials[places],
            {name: values[places] for name, values in self.hyperparameters.items()},
            self.candidates[places],
            self.multipliers[places],
            [moment[places] for moment in self.candidate_moments],
            [moment[places] for moment in self.multiplier_moments],
        )


@dataclass(frozen=True)
class Outcome:
    """The trials that went on to the end, the final terms of their loss (S,), and all trials' terms on the way.

    `history`: term → (P, T), NaN once a trial was dropped, at the iterations `recorded` (P,). `diverged` (T,) bool.
    `snapshots`: iteration → trials, candidates and multipliers then. `stopped`: trials that AttackSettings.stop ended.
    """

    stack: Stack
    terms: dict[str, Tensor]
    recorded: Tensor
    history: dict[str, Tensor]
    diverged: Tensor
    snapshots: dict[int, dict[str, Tensor]]
    stopped: list[int]


def first_stack(
    settings: AttackSettings,
    search: SearchSettings,
    loss: str,
    trials: Sequence[int],
    shape: Sequence[int],
    classes: int,
    seed: int,
    device: torch.device,
) -> Stack:
    """Where trials start: candidates (T, m, C, H, W) from N(0, σ²), multipliers as multipliers.py has them.

    A trial's draws depend on the experiment's seed and its own number alone, and are made on the CPU.
    """
    dtype = getattr(torch, settings.dtype)
    rows = [hyperparameters(settings, search, trial, seed) for trial in trials]
    drawn = {name: torch.tensor([row[name] for row in rows], dtype=dtype, device=device) for name in rows[0]}
    candidates, multipliers = [], []
    for trial, row in zip(trials, rows, strict=True):
        generator = torch_generator(seed, "kkt_attack", trial)
        noise = torch.randn(settings.candidates, *shape, generator=generator, dtype=torch.float64)
        candidates.append((row["init_std"] * noise).to(device, dtype))
        multipliers.append(first_multipliers(loss, settings.candidates, classes, generator).to(device, dtype))
    variables = torch.stack(candidates), torch.stack(multipliers)
    moments = [[torch.zeros_like(variable) for _ in range(MOMENTS[settings.optimizer])] for variable in variables]
    return Stack(torch.tensor(trials, device=device), drawn, *variables, *moments)


def run_attack(
    stack: Stack,
    objective: Objective,
    settings: AttackSettings,
    halve_at: Sequence[int],
    *,
    distance: Callable[[Tensor], Tensor] | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    progress: Callable[[int, int, str], None] = silent,
) -> Outcome:
    """Descend for `settings.iterations` steps; no trial may be left, when all of them diverged or were stopped.

    `distance(candidates)` (S,) is what `settings.stop` judges trials by.
    """
    records, start = _Records(stack.trials), 0
    snapshots: dict[int, dict[str, Tensor]] = {}
    if state := checkpoint.load(stack.trials.device):
        stack, start, records = Stack(**state["stack"]), state["done"], _Records(**state["records"])
        snapshots = state["snapshots"]
    every = max(1, settings.iterations // RECORDS)
    for done in range(start, settings.iterations + 1):
        if settings.snapshot_every and done % settings.snapshot_every == 0:
            snapshots[done] = stack.snapshot()
        found = objective(stack.candidates, stack.multipliers, stack.hyperparameters)
        if done % every == 0 or done == settings.iterations or done in halve_at:
            records.add(done, stack.trials, found.terms)
            going_on = sound(found.total)
            if done in halve_at:
                going_on = going_on[better_half(found.total[going_on])]
            if settings.stop and settings.stop.after <= done < settings.iterations:
                near = distance(stack.candidates[going_on]) <= settings.stop.above
                records.stopped += stack.trials[going_on[~near]].tolist()
                going_on = going_on[near]
            if len(going_on) < len(stack):
                stack, found = stack.keep(going_on), _kept(found, going_on)
            if not len(stack) or done == settings.iterations:
                break
            progress(done, settings.iterations, f"loss {found.total.min().item():.5g}, {len(stack)} trials")
        share = cosine(done, settings.iterations) if settings.schedule == "cosine" else 1.0
        for variable, gradient, moments, rate in (
            (stack.candidates, found.candidates_gradient, stack.candidate_moments, "learning_rate"),
            (stack.multipliers, found.multipliers_gradient, stack.multiplier_moments, "multiplier_learning_rate"),
        ):
            step(settings.optimizer, variable, gradient, moments, share * stack.hyperparameters[rate], done + 1)

        def state(done: int = done, stack: Stack = stack) -> dict[str, Any]:
            parts = {"stack": vars(stack), "records": vars(records), "snapshots": snapshots}
            return {**parts, "done": done + 1}

        checkpoint.offer(state)
    return Outcome(stack, found.terms, *records.table(), snapshots, records.stopped)


def _kept(found: Evaluation, places: Tensor) -> Evaluation:
    return replace(
        found,
        terms={name: values[places] for name, values in found.terms.items()},
        candidates_gradient=found.candidates_gradient[places],
        multipliers_gradient=found.multipliers_gradient[places],
    )


@dataclass
class _Records:
    """Terms of all trials at some iterations."""

    trials: Tensor
    iterations: list[int] = field(default_factory=list)
    terms: dict[str, list[Tensor]] = field(default_factory=dict)
    diverged: Tensor | None = None
    stopped: list[int] = field(default_factory=list)

    def add(self, done: int, trials: Tensor, terms: dict[str, Tensor]) -> None:
        places = torch.searchsorted(self.trials, trials)
        self.iterations.append(done)
        for name, values in terms.items():
            row = torch.full((len(self.trials),), torch.nan, dtype=torch.float64)
            row[places.cpu()] = values.double().cpu()
            self.terms.setdefault(name, []).append(row)
        if self.diverged is None:
            self.diverged = torch.zeros(len(self.trials), dtype=torch.bool)
        self.diverged[places.cpu()] |= ~torch.isfinite(sum(terms.values())).cpu()

    def table(self) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        return (
            torch.tensor(self.iterations),
            {name: torch.stack(rows) for name, rows in self.terms.items()},
            self.diverged,
        )
