"""How an experiment stands, as a table and a word on what to type next; how experiments compare."""

from collections.abc import Sequence

from rich.table import Table

from jobs.failures import read_failure
from jobs.scan import StageState
from pipeline.errors import Failure
from stages import stage_named
from stages.plan import Plan

SHOWN_STATES = ("done", "missing", "stale", "damaged")


def status_table(states: Sequence[StageState]) -> Table:
    """One row per stage: shards in each state, and the time that its finished shards took."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for column in ("shards", *SHOWN_STATES, "failed", "hours"):
        table.add_column(column, justify="right")
    for state in states:
        counts = [str(state.count(name) or "") for name in SHOWN_STATES]
        failed = f"[red]{len(state.failed)}[/red]" if state.failed else ""
        hours = f"{state.hours:.2f}" if state.hours else ""
        table.add_row(state.stage.name, str(len(state.shards)), *counts, failed, hours)
    return table


def next_step(plan: Plan, states: Sequence[StageState]) -> str:
    """What to type next, and the last error if there is one."""
    arguments = plan.experiment.arguments
    for state in states:
        if state.failed:
            record = read_failure(plan.experiment, state.stage.name, state.failed[0])
            said = record.message if record else "no record"
            return (
                f"{state.stage.name} {state.failed[0]}: {said}\nmore:  python -m jobs logs {plan.experiment.source} "
                f"{state.stage.name} {state.failed[0]}\nnext:  python -m jobs resume {arguments}"
            )
    if any(state.todo for state in states):
        return f"next:  python -m jobs run {arguments}"
    if states and states[-1].stage.name == "report":
        page = plan.path(states[-1].stage, "report").with_name("index.html")
        return f"all done; the report: {page}"
    return "all done"


def rates_table(plans: Sequence[Plan]) -> Table:
    """The rates of finished experiments side by side, pooled over classes; raises Failure where one has none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("experiment", "mode", "AUC", "TPR at FPR …", "TPR at threshold", "FPR at threshold"):
        table.add_column(column)
    from pipeline.report.reconstructor import interval

    for plan in plans:
        stage = stage_named("roc")
        shards = plan.finished(stage)
        if not shards.names:
            raise Failure(f"{plan.experiment.source}: this experiment has no reconstructor, so no rates")
        for mode in shards.names:
            roc = shards.read(mode)
            at = zip(roc["false_positive_rates"], roc["tpr"][0], roc["tpr_bound"][0], strict=True)
            table.add_row(
                plan.experiment.name,
                mode,
                interval(roc["auc"][0]),
                "\n".join(f"{100 * rate:>5g} %: {interval(triple, bound)}" for rate, triple, bound in at),
                interval(roc["threshold_tpr"][0]),
                interval(roc["threshold_fpr"][0]),
            )
    return table
