"""Carry an experiment through: scan, do what is missing, stage after stage. `run` and `resume` are this one act."""

from collections.abc import Callable
from typing import Protocol

from jobs.failures import read_failure, record_lost
from jobs.scan import StageState, scan, scan_stage
from jobs.worker import Pack, Report
from pipeline.errors import Failure, UserError
from stages.command import check_directory
from stages.plan import Plan
from stages.stage import Resources, Stage

LOST = "its worker ended without a result: killed, or out of memory"


class Executor(Protocol):
    """Who makes shards: entered before the first stage of the first experiment, left after the last."""

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *_: object) -> None: ...

    def carry_out(self, pack: Pack, resources: Resources, tell: Callable[[Report], None]) -> None:
        """Make the shards of `pack`, telling of each; failures are recorded in files, not raised."""


class Observer(Protocol):
    """Who watches: a progress display, or plain lines."""

    def stage_started(self, state: StageState) -> None: ...

    def told(self, report: Report) -> None: ...

    def stage_ended(self, state: StageState) -> None: ...


def unfinished(plan: Plan, only: str | None) -> list[StageState]:
    """The stages with something to do, all of them or the `only` one; raises Failure when that lacks its inputs."""
    states = scan(plan)
    if only is None:
        return [state for state in states if state.todo]
    chosen = [state for state in states if state.stage.name == only]
    if not chosen:
        raise UserError(f"--only {only}: {plan.experiment.source} has nothing for this stage")
    plan.read_inputs(chosen[0].stage)
    return [state for state in chosen if state.todo]


def check(plan: Plan, todo: list[StageState]) -> None:
    """Refuse, before any work starts, what would fail later: bad data, impossible deals, an unwritable directory."""
    check_directory(plan.experiment)
    for state in todo:
        for shard in state.todo:
            if plan.imported(state.stage, shard):
                found = state.shards[shard]
                why = "was imported for other settings" if found.state == "stale" else found.why or found.state
                raise UserError(
                    f"{plan.path(state.stage, shard)}: {why}; import it again, python -m jobs import "
                    f"{plan.experiment.arguments} {state.stage.name}/{shard} FILE ..., or remove it"
                )
        if state.stage.name in plan.experiment.imported:
            raise UserError(
                f"{plan.experiment.source}: {state.stage.name} is to be imported, and {state.todo[0]} is not there: "
                f"python -m jobs import {plan.experiment.arguments} {state.stage.name}/{state.todo[0]} FILE ..."
            )
        state.stage.check(plan.experiment)


def carry_through(plan: Plan, todo: list[StageState], executor: Executor, device: str, observer: Observer) -> None:
    """Do the stages in order, by an executor that was entered.

    Shards that fail are recorded, and what needs them waits; raises Failure at the end.
    """
    failed: list[tuple[Stage, list[str]]] = []
    for stage in (state.stage for state in todo):
        if any(scan_stage(plan, other).todo for other in plan.inputs(stage)):
            continue
        found = scan_stage(plan, stage)
        observer.stage_started(found)
        pack = Pack(plan.experiment, stage.name, tuple(found.todo), device)
        executor.carry_out(pack, plan.resources(stage), observer.told)
        state = scan_stage(plan, stage)
        record_lost(plan.experiment, stage.name, state.todo, LOST)
        observer.stage_ended(state)
        if state.todo:
            failed.append((stage, state.todo))
    if failed:
        stage, shards = failed[0]
        record = read_failure(plan.experiment, stage.name, shards[0])
        raise Failure(
            f"{len(shards)} of {len(stage.shards(plan.experiment))} shards of {stage.name} failed; {shards[0]}: "
            f"{record.message if record else 'no record'}. More: `python -m jobs logs {plan.experiment.source} "
            f"{stage.name} {shards[0]}`; then `python -m jobs resume {plan.experiment.arguments}` does what is missing"
        )
    if left := [state for planned in todo if (state := scan_stage(plan, planned.stage)).todo]:
        lost = next((one for other in plan.inputs(left[0].stage) if (one := scan_stage(plan, other)).todo), left[0])
        raise Failure(
            f"{left[0].stage.name} is not done: {lost.stage.name}/{lost.todo[0]} was removed or damaged while the run "
            f"went on; `python -m jobs resume {plan.experiment.arguments}` makes what is missing"
        )
