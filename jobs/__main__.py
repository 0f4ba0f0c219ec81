"""`python -m jobs run|resume|status|logs|report|compare CONFIG`: an experiment from the command line."""

import click
from rich.console import Console

from jobs.display import Display
from jobs.failures import read_failure
from jobs.run import carry_through, check, unfinished
from jobs.scan import StageState, scan
from jobs.status import next_step, rates_table, status_table
from pipeline.config import Experiment, load
from pipeline.errors import UserError
from stages.command import config_argument, device_option, run_command, set_option
from stages.plan import Plan, stage_known

console = Console(highlight=False)


@click.group(help=__doc__)
def jobs() -> None:
    pass


def run_options(command):
    for option in (
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        device_option,
        set_option,
        click.option("--only", metavar="STAGE", help="This stage alone; what it reads must be there."),
        click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler, tcp://host:port."),
        click.option("--cluster", metavar="FILE", help="Resources of a SLURM cluster, from config_data/clusters/."),
        click.option("--executor", type=click.Choice(["inline", "dask", "slurm"]), default="dask", show_default=True),
        config_argument,
    ):
        command = option(command)
    return command


@jobs.command(help="Do all of an experiment that is not done yet.")
@run_options
def run(config, executor, cluster, scheduler, only, overrides, device, dry_run) -> None:
    if executor == "slurm" or cluster:
        raise UserError("--executor slurm: not yet; use --executor dask (the default) or inline")
    if scheduler and executor != "dask":
        raise UserError(f"--scheduler goes with --executor dask, not with {executor}")
    plan = Plan(load(config, overrides))
    if only:
        stage_known(only, f"--only {only}")
    todo = unfinished(plan, only)
    if not todo:
        console.print(f"{plan.experiment.name}: nothing to do, every shard is done.")
        return
    announce(plan, todo)
    if dry_run:
        return
    check(plan, todo)
    carry_through(plan, todo, chosen_executor(executor, scheduler), device, Display(console))
    if not only:
        console.print(next_step(plan, scan(plan)), soft_wrap=True)


jobs.command("resume", help="The same as run: do what is missing.")(run_options(run.callback))


def chosen_executor(name: str, scheduler: str | None):
    if name == "inline":
        from jobs.inline import InlineExecutor

        return InlineExecutor()
    from jobs.dask_executor import DaskExecutor

    return DaskExecutor(scheduler)


def announce(plan: Plan, todo: list[StageState]) -> None:
    for state in todo:
        reasons = [f"{state.count(name)} {name}" for name in ("missing", "stale", "damaged") if state.count(name)]
        resources = plan.resources(state.stage)
        hours = len(state.todo) * resources.seconds_per_shard / 3600
        console.print(
            f"{state.stage.name:<18} to do: {', '.join(reasons)} of {len(state.shards)}"
            f"  ({resources.device}, {resources.threads} thread(s), {resources.memory_gb:g} GB, about {hours:.2g} h)",
            soft_wrap=True,
        )


@jobs.command(help="How an experiment stands, from its files.")
@config_argument
@set_option
def status(config: str, overrides: tuple[str, ...]) -> None:
    plan = Plan(load(config, overrides))
    states = scan(plan)
    console.print(status_table(states))
    console.print(next_step(plan, states), soft_wrap=True)


@jobs.command(help="What was logged of a stage, or of one of its shards.")
@config_argument
@click.argument("stage")
@click.argument("shard", required=False)
@set_option
def logs(config: str, stage: str, shard: str | None, overrides: tuple[str, ...]) -> None:
    experiment = load(config, overrides)
    stage_known(stage, f"logs {stage}")
    lines = logged(experiment, stage, shard)
    record = read_failure(experiment, stage, shard) if shard else None
    if not lines and not record:
        raise UserError(f"{experiment.name}: nothing was logged of {stage} {shard or ''}".rstrip())
    for line in lines:
        click.echo(line)
    if record:
        click.echo(f"\nfailed on {record.host} at {record.time}: {record.message}\n{record.traceback}")
        click.echo(f"try it again alone:  {record.rerun}")


def logged(experiment: Experiment, stage: str, shard: str | None) -> list[str]:
    """Lines of all task logs of a stage, in order of time; with `shard`, those that speak of it."""
    files = (experiment.run_directory / "logs" / stage).glob("*.log")
    lines = sorted(
        (line for file in files for line in file.read_text().splitlines() if line), key=lambda line: line[:19]
    )
    return [line for line in lines if shard is None or f"  {shard}  " in line]


@jobs.command(help="Make the report if anything of it is out of date, and print the table of rates.")
@config_argument
@set_option
def report(config: str, overrides: tuple[str, ...]) -> None:
    plan = Plan(load(config, overrides))
    todo = unfinished(plan, "report")
    if todo:
        from jobs.inline import InlineExecutor

        check(plan, todo)
        carry_through(plan, todo, InlineExecutor(), "auto", Display(console))
    console.print(rates_table([plan]))
    console.print(next_step(plan, scan(plan)), soft_wrap=True)


@jobs.command(help="The rates of finished experiments side by side.")
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG ...")
@set_option
def compare(configs: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    console.print(rates_table([Plan(load(config, overrides)) for config in configs]))


if __name__ == "__main__":
    run_command(jobs)
