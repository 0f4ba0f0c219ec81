"""`python -m jobs COMMAND CONFIG`: an experiment from the command line."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import click
from rich.console import Console

from jobs import queue
from jobs.cluster import Cluster, load_cluster
from jobs.compare import comparison, write_comparison
from jobs.display import Display
from jobs.failures import read_failure
from jobs.importing import import_shard
from jobs.lock import lock, look, remove
from jobs.run import Executor, carry_through, check, check_directory, unfinished
from jobs.scan import StageState, scan
from jobs.status import in_queue, inversions_table, kkt_table, logged, next_step, rates_table, status_table
from jobs.submission import Chain
from pipeline.config import load, load_all
from pipeline.errors import Failure, UserError
from stages.command import config_argument, device_option, run_command, set_option
from stages.plan import Plan, stage_known

LOCK_SECONDS = 60.0
WIDTH_IN_A_FILE = 200

# what is printed is often others' text: nothing in it is markup
console = Console(
    highlight=False,
    markup=False,
    emoji=False,
    width=None if sys.stdout and sys.stdout.isatty() else WIDTH_IN_A_FILE,
)


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
    if scheduler and executor != "dask":
        raise UserError(f"--scheduler goes with --executor dask, not with {executor}")
    if cluster and executor == "inline":
        raise UserError("--cluster goes with --executor slurm or dask, not with inline")
    if cluster and scheduler:
        raise UserError("--cluster starts Dask workers on a cluster, --scheduler joins some that run: choose one")
    site = load_cluster(cluster) if cluster or executor == "slurm" else None
    plans = plans_of(config, overrides)
    if only:
        stage_known(only, f"--only {only}")
    todo = {plan: states for plan in plans if (states := unfinished(plan, only))}
    if not todo:
        console.print(f"{plans[0].experiment.name}: nothing to do, every shard is done.")
        return
    for plan, states in todo.items():
        headed(plan, len(plans) > 1)
        announce(plan, states)
        if dry_run and executor == "slurm":
            show_submissions(plan, site, states, device)
    if dry_run:
        return
    for plan, states in todo.items():
        check(plan, states)
    with held(todo):
        if executor == "slurm":
            refuse_shared_work(todo)
            for plan, states in todo.items():
                submit(plan, site, states, device, only)
            return
        carry_all_through(list(todo), only, chosen_executor(executor, scheduler, site), device)
    if not only:
        for plan in plans:
            console.print(next_step(plan, scan(plan)), soft_wrap=True)


jobs.command("resume", help="The same as run: do what is missing.")(run_options(run.callback))


def plans_of(config: str, overrides: Sequence[str]) -> list[Plan]:
    """The plan of an experiment, or those of all points of a grid."""
    return [Plan(experiment) for experiment in load_all(config, overrides)]


def headed(plan: Plan, many: bool) -> None:
    if many:
        console.print(f"\n{plan.experiment.title}", style="bold", soft_wrap=True)


def carry_all_through(plans: list[Plan], only: str | None, executor: Executor, device: str) -> None:
    """One experiment after the other; one that fails does not keep the next from its turn."""
    failures = []
    with executor:
        for plan in plans:
            headed(plan, len(plans) > 1)
            try:
                carry_through(plan, unfinished(plan, only), executor, device, Display(console))
            except Failure as failure:
                failures.append(failure)
    if failures:
        raise failures[0]


def refuse_shared_work(todo: Mapping[Plan, list[StageState]]) -> None:
    """Chains of jobs do not wait for one another: what points share has to be there before they run."""
    places = Counter(
        (state.stage.name, plan.path(state.stage, shard))
        for plan, states in todo.items()
        for state in states
        for shard in state.todo
    )
    shared = sorted({stage for (stage, _), count in places.items() if count > 1})
    if shared:
        first = next(iter(todo)).experiment
        raise UserError(
            f"{first.source}: its points share unfinished shards of {', '.join(shared)}; run one point first, "
            f"`python -m jobs run {first.arguments} --executor slurm`, and the others when these are done"
        )


@contextlib.contextmanager
def held(plans: Iterable[Plan], wait_seconds: float = 0.0) -> Iterator[None]:
    """The locks of the experiments, in the name of the command at work."""
    what = click.get_current_context().info_name
    with contextlib.ExitStack() as locks:
        for plan in plans:
            directory = plan.experiment.run_directory
            locks.enter_context(lock(directory, what, lambda text: console.print(text, soft_wrap=True), wait_seconds))
        yield


def chosen_executor(name: str, scheduler: str | None, site: Cluster | None):
    if name == "inline":
        from jobs.inline import InlineExecutor

        return InlineExecutor()
    from jobs.dask_executor import DaskExecutor

    return DaskExecutor(scheduler, site)


def submit(plan: Plan, site: Cluster, todo: list[StageState], device: str, only: str | None) -> None:
    """Hand the experiment to SLURM, which carries it on from gate to gate."""
    from jobs.gate import start

    experiment = plan.experiment
    chain = Chain(experiment.source, experiment.overrides, site.source, device, only, plan.fingerprint)
    start(plan, chain, site, todo, lambda line: console.print(line, soft_wrap=True))
    console.print(f"You may log out. How it goes:  python -m jobs status {experiment.arguments}", soft_wrap=True)


def show_submissions(plan: Plan, site: Cluster, todo: list[StageState], device: str) -> None:
    from jobs.slurm_executor import Round

    for state in todo:
        planned = Round.of(plan, site, state.stage, state.todo, device)
        packs, where = planned.packing.packs, planned.place
        click.echo(
            f"\n{state.stage.name}: {len(packs)} task(s) of up to {len(packs[0])} shard(s), at most "
            f"{planned.packing.minutes} min each, {where.concurrent_tasks} at once; {where.threads} CPU(s), "
            f"{where.memory_mb} MB, {where.gpus_per_node or 'no'} GPU(s), partition {where.partition or 'by default'}\n"
        )
        click.echo(planned.script(plan.experiment))


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
    plans = plans_of(config, overrides)
    for plan in plans:
        headed(plan, len(plans) > 1)
        states = scan(plan)
        try:
            queued = in_queue(plan, states)
        except Failure as error:
            queued = None
            console.print(f"What is queued is not known: {error}", soft_wrap=True)
        console.print(status_table(plan, states, queued))
        console.print(next_step(plan, states, queued), soft_wrap=True)


@jobs.command(help="End this experiment's jobs on SLURM, and no others; what is done, or at a checkpoint, is kept.")
@config_argument
@set_option
def cancel(config: str, overrides: tuple[str, ...]) -> None:
    for plan in plans_of(config, overrides):
        title, directory = plan.experiment.title, plan.experiment.run_directory
        if not queue.queued_jobs(directory):
            console.print(f"{title}: no jobs in the queue.")
            continue
        with held([plan], LOCK_SECONDS):  # no gate submits meanwhile
            found = queue.queued_jobs(directory)
            queue.cancel(found)
        console.print(f"{title}: {len(found)} jobs cancelled.")
        console.print(next_step(plan, scan(plan)), soft_wrap=True)


@jobs.command(help="Remove the lock that a process left behind which is gone, and say whose it was.")
@config_argument
@click.option("--force", is_flag=True, help="Also where the holder may be alive: on another host, or silent not long.")
@set_option
def unlock(config: str, force: bool, overrides: tuple[str, ...]) -> None:
    for plan in plans_of(config, overrides):
        path = plan.experiment.run_directory / "lock"
        found = look(path)
        if found is None:
            console.print(f"{plan.experiment.title}: no lock, {path} is not there", soft_wrap=True)
        elif found.alive:
            raise Failure(f"{path}: is held by {found}, which is alive; end that process first")
        elif found.owner and not found.dead and not force:
            raise Failure(f"{path}: is held by {found}, which may be alive there; --force removes it all the same")
        else:
            remove(found)
            console.print(f"{plan.experiment.title}: removed {path}, which was held by {found}", soft_wrap=True)


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


@jobs.command(help="Make the report if anything of it is out of date, and print the table of rates.")
@config_argument
@set_option
def report(config: str, overrides: tuple[str, ...]) -> None:
    plans = plans_of(config, overrides)
    todo = {plan: states for plan in plans if (states := unfinished(plan, "report"))}
    for plan, states in todo.items():
        check(plan, states)
    if todo:
        from jobs.inline import InlineExecutor

        with held(todo):
            carry_all_through(list(todo), "report", InlineExecutor(), "auto")
    tell_results(plans)
    for plan in plans:
        console.print(next_step(plan, scan(plan)), soft_wrap=True)


def tell_results(plans: Sequence[Plan]) -> None:
    if reconstructions := [plan for plan in plans if plan.experiment.reconstructor]:
        console.print(rates_table(reconstructions))
    if inversions := [plan for plan in plans if plan.experiment.gradient_inversion]:
        console.print(inversions_table(inversions))
    if attacks := [plan for plan in plans if plan.experiment.kkt and plan.experiment.kkt.attack]:
        console.print(kkt_table(attacks))


@jobs.command("import", help="Take files of others' runs (.npy, .pth) as a shard; the experiment goes on from it.")
@config_argument
@click.argument("target", metavar="STAGE[/SHARD]")
@click.argument("files", nargs=-1, required=True, metavar="[NAME=]FILE ...")
@click.option("--replace", is_flag=True, help="Also where the shard is done already.")
@set_option
def import_files(config: str, target: str, files: tuple[str, ...], replace: bool, overrides: tuple[str, ...]) -> None:
    plan = Plan(load(config, overrides))
    check_directory(plan)
    with held([plan]):
        path = import_shard(plan, target, files, replace)
    console.print(f"{target}: imported into {path}", soft_wrap=True)
    console.print(next_step(plan, scan(plan)), soft_wrap=True)


@jobs.command(help="Results of finished experiments, or of all points of a grid, side by side.")
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG ...")
@click.option("--along", metavar="KEY", help="Draw the curve along this key, where the experiments differ in several.")
@set_option
def compare(configs: tuple[str, ...], along: str | None, overrides: tuple[str, ...]) -> None:
    plans = [plan for config in configs for plan in plans_of(config, overrides)]
    tell_results(plans)
    reconstructions = [plan for plan in plans if plan.experiment.reconstructor]
    if along and not reconstructions:
        raise UserError(f"--along {along}: none of these experiments has a reconstructor, whose rates make the curve")
    if len(reconstructions) > 1 or along:
        for line in write_comparison(reconstructions, comparison(reconstructions), along):
            console.print(line, soft_wrap=True)


def main() -> None:
    """The console command `reconstruct`, the same as `python -m jobs`."""
    run_command(jobs)


if __name__ == "__main__":
    main()
