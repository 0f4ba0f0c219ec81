"""Run experiments: what is missing is done, what is finished is kept.

\b
python -m jobs list            which experiments there are
python -m jobs run demo        three minutes on two cores, ends with a report
python -m jobs status demo     what is done, what is missing, what to type next

`python -m jobs COMMAND --help` explains a command.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import click
from rich.console import Console

from jobs.audit import behind_the_card, findings, refuse_without_subject
from jobs.catalogue import experiment_lines
from jobs.compare import summaries, write_comparison
from jobs.display import Display
from jobs.failures import read_failure
from jobs.importing import import_shard
from jobs.prune import unneeded
from jobs.run import Executor, carry_through, check, unfinished
from jobs.scan import StageState, scan
from jobs.slurm import queue
from jobs.slurm.cluster import Cluster, load_cluster
from jobs.slurm.submission import Chain
from jobs.spans import readable
from jobs.status import in_queue, logged, next_step, status_table
from jobs.tables import fitted
from jobs.verify import verify as verify_files
from pipeline.config import load, load_all
from pipeline.errors import Failure, UserError
from pipeline.lock import lock, look, remove
from stages.command import ABOUT_CONFIG, check_directory, config_argument, device_option, run_command, set_option
from stages.plan import Plan, stage_known

ABOUT_STAGE = """STAGE is one step of an experiment, such as shadow_models, and SHARD one part of that step, such as
train-00017. `python -m jobs status CONFIG` shows the stages of an experiment."""

LOCK_SECONDS = 60.0
WIDTH_IN_A_FILE = 200

# what is printed is often others' text: nothing in it is markup
console = Console(
    highlight=False,
    markup=False,
    emoji=False,
    width=None if sys.stdout and sys.stdout.isatty() else WIDTH_IN_A_FILE,
)


@click.group(help=__doc__, invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def subcommand(text: str, *about: str, name: str | None = None):
    """A command of `jobs`: what it does in a sentence, then what its arguments stand for."""
    return jobs.command(name, help="\n\n".join((text, *about)), short_help=text)


def run_options(command):
    for option in (
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        device_option,
        set_option,
        click.option(
            "--only",
            metavar="STAGE",
            help="Make this stage alone, such as shadow_models; those that it reads must be done.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Use a Dask scheduler that is running: tls://host:port or tcp://host:port.",
        ),
        click.option(
            "--cluster",
            metavar="FILE",
            help="The SLURM cluster: a YAML file, or the name of one in config_data/clusters/.",
        ),
        click.option(
            "--executor",
            type=click.Choice(["inline", "dask", "slurm"]),
            default="dask",
            show_default=True,
            help="Where to work: in this process, in one process per core, or as jobs of a SLURM cluster.",
        ),
        config_argument,
    ):
        command = option(command)
    return command


@subcommand(
    "Make what is missing of an experiment.",
    ABOUT_CONFIG,
    "What is finished is kept and never made twice, so run may be killed and typed again at any time. For example:",
    "\b\npython -m jobs run demo\npython -m jobs run demo --only shadow_models --executor inline\n"
    "python -m jobs run mnist_n10 --executor slurm --cluster default",
)
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
    if device == "cuda" and not (executor == "slurm" or cluster or scheduler):
        from stages.execution import choose_device

        choose_device(device, "gpu")
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


subcommand("The same as run.", ABOUT_CONFIG, name="resume")(run_options(run.callback))


@subcommand("Show the experiments in config_data/.", "Each may be given as CONFIG to the other commands.", name="list")
def list_experiments() -> None:
    for line in experiment_lines(console.width if console.is_terminal else None):
        click.echo(line)


@subcommand(
    "Show the keys of an experiment, all or those that start with KEY.",
    "For example: python -m jobs keys shadow_models.training",
)
@click.argument("key", required=False)
def keys(key: str | None) -> None:
    from jobs.keys import keys_page, keys_under

    lines = keys_under(key) if key else keys_page().splitlines()
    if not lines:
        raise UserError(f"keys {key}: there is no such key; `python -m jobs keys` shows all")
    for line in lines:
        click.echo(line)


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
        from jobs.executors.inline import InlineExecutor

        return InlineExecutor()
    from jobs.executors.dask import DaskExecutor

    return DaskExecutor(scheduler, site)


def submit(plan: Plan, site: Cluster, todo: list[StageState], device: str, only: str | None) -> None:
    """Hand the experiment to SLURM, which carries it on from gate to gate."""
    from jobs.slurm.gate import start

    experiment = plan.experiment
    chain = Chain(experiment.source, experiment.overrides, site.source, device, only, plan.fingerprint)
    start(plan, chain, site, todo, lambda line: console.print(line, soft_wrap=True))
    console.print(f"You may log out. How it goes:  python -m jobs status {experiment.arguments}", soft_wrap=True)


def show_submissions(plan: Plan, site: Cluster, todo: list[StageState], device: str) -> None:
    from jobs.slurm.submit import Round

    for state in todo:
        planned = Round.of(plan, site, state.stage, state.todo, device)
        packs, options = planned.packing.packs, planned.options
        partition = f"partition {options.partition or 'by default'}"
        click.echo(
            f"\n{state.stage.name}: {len(packs)} task(s) of up to {len(packs[0])} shard(s), at most "
            f"{planned.packing.minutes} min each, {options.concurrent_tasks} at once; {options.threads} CPU(s), "
            f"{options.memory_mb} MB, {options.gpus_per_node or 'no'} GPU(s), {partition}\n"
        )
        click.echo(planned.script(plan.experiment))


def announce(plan: Plan, todo: list[StageState]) -> None:
    seconds = sum(len(state.todo) * plan.resources(state.stage).seconds_per_shard for state in todo)
    for state in todo:
        reasons = [f"{state.count(name)} {name}" for name in ("missing", "stale", "damaged") if state.count(name)]
        resources = plan.resources(state.stage)
        time = readable(len(state.todo) * resources.seconds_per_shard)
        console.print(
            f"{state.stage.name:<18} to do: {', '.join(reasons)} of {len(state.shards)}"
            f"  ({resources.device}, {resources.threads} thread(s), {resources.memory_gb:g} GB, about {time})",
            soft_wrap=True,
        )
    console.print(f"about {readable(seconds)} in all, if one shard is made after another", soft_wrap=True)


@subcommand("Show what is done of an experiment, and what to type next.", ABOUT_CONFIG)
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
        console.print(fitted(status_table(plan, states, queued), console.width))
        console.print(next_step(plan, states, queued), soft_wrap=True)


@subcommand(
    "End this experiment's SLURM jobs, and no others.",
    "What is finished is kept, and what is saved in a checkpoint.",
    ABOUT_CONFIG,
)
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


@subcommand(
    "Find damaged files, and set them aside.",
    "Every finished file is read whole and held against its checksum. The next run makes again what was set aside.",
    ABOUT_CONFIG,
)
@config_argument
@set_option
def verify(config: str, overrides: tuple[str, ...]) -> None:
    damaged = 0
    for plan in (plans := plans_of(config, overrides)):
        if not plan.experiment.run_directory.is_dir():
            console.print(f"{plan.experiment.title}: nothing is there yet")
            continue
        with held([plan]):
            found = verify_files(plan, lambda text: console.print(text, soft_wrap=True))
        damaged += len(found.aside)
        console.print(
            f"{plan.experiment.title}: {found.files} files ({found.size / 1e6:.1f} MB) are as they were written, "
            f"{len(found.aside)} were damaged",
            soft_wrap=True,
        )
    if damaged:
        arguments = plans[0].experiment.arguments
        raise Failure(f"{damaged} damaged files were set aside; `python -m jobs run {arguments}` makes them again")


@subcommand(
    "Remove files that no command will read again.",
    "These are shards and checkpoints of other settings, and what was set aside as damaged. Backbones and features "
    "stay: other experiments may read them.",
    ABOUT_CONFIG,
)
@config_argument
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@set_option
def prune(config: str, dry_run: bool, overrides: tuple[str, ...]) -> None:
    plans = plans_of(config, [one for one in overrides if not one.startswith("point=")])
    with held(plans) if not dry_run else contextlib.nullcontext():
        found = unneeded(plans)
        for one in found:
            console.print(f"{one.path}: {one.why} ({one.size / 1e6:.1f} MB)", soft_wrap=True)
            if not dry_run:
                one.path.unlink()
    total = f"{len(found)} files, {sum(one.size for one in found) / 1e6:.1f} MB"
    console.print(f"{total} {'would be' if dry_run else 'were'} removed" if found else "nothing to remove")


@subcommand(
    "Remove the lock that a process left behind, and say whose it was.",
    "A lock keeps two commands from working on one experiment. It is removed only when its holder is gone.",
    ABOUT_CONFIG,
)
@config_argument
@click.option(
    "--force",
    is_flag=True,
    help="Remove it even where the holder may be alive, on another host or not silent for long.",
)
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


@subcommand(
    "Print the log of a stage, or of one of its shards.",
    ABOUT_CONFIG,
    ABOUT_STAGE,
    "For example: python -m jobs logs demo shadow_models train-00017",
)
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


@subcommand("Bring the report up to date, and print its main tables.", ABOUT_CONFIG)
@config_argument
@set_option
def report(config: str, overrides: tuple[str, ...]) -> None:
    plans = plans_of(config, overrides)
    todo = {plan: states for plan in plans if (states := unfinished(plan, "report"))}
    for plan, states in todo.items():
        check(plan, states)
    if todo:
        from jobs.executors.inline import InlineExecutor

        with held(todo):
            carry_all_through(list(todo), "report", InlineExecutor(), "auto")
    for _, _, table in summaries(plans):
        console.print(fitted(table, console.width))
    for plan in plans:
        console.print(next_step(plan, scan(plan)), soft_wrap=True)


@subcommand(
    "Tell how exposed a model of your own is.",
    "The part subject of the experiment names the model and the images that trained it. What is missing of the attack "
    "is made, and the report card says which of these images can be rebuilt from the model.",
    ABOUT_CONFIG,
    "For example: python -m jobs audit examples/my_head/audit.yml",
)
@config_argument
@click.option(
    "--executor",
    type=click.Choice(["inline", "dask"]),
    default="dask",
    show_default=True,
    help="Where to work: in this process, or in one process per core.",
)
@device_option
@set_option
def audit(config: str, executor: str, device: str, overrides: tuple[str, ...]) -> None:
    plans = plans_of(config, overrides)
    for plan in plans:
        refuse_without_subject(plan)
    if todo := {plan: states for plan in plans if (states := behind_the_card(plan))}:
        for plan, states in todo.items():
            check(plan, states)
        with held(todo), chosen_executor(executor, None, None) as engine:
            for plan, states in todo.items():
                headed(plan, len(plans) > 1)
                announce(plan, states)
                carry_through(plan, states, engine, device, Display(console))
    for plan in plans:
        headed(plan, len(plans) > 1)
        for line in findings(plan):
            console.print(line, soft_wrap=True)


@subcommand(
    "Take published files (.npy, .pth) as a shard.",
    "The experiment goes on from them as if it had made them. For example:",
    "\b\npython -m jobs import mine shadow_models/train-00000 weights.npy\n"
    "python -m jobs import mine weight_stats mean=m.npy deviation=s.npy",
    ABOUT_CONFIG,
    ABOUT_STAGE,
    name="import",
)
@config_argument
@click.argument("target", metavar="STAGE[/SHARD]")
@click.argument("files", nargs=-1, required=True, metavar="[NAME=]FILE ...")
@click.option("--replace", is_flag=True, help="Replace the shard where it is done already.")
@set_option
def import_files(config: str, target: str, files: tuple[str, ...], replace: bool, overrides: tuple[str, ...]) -> None:
    plan = Plan(load(config, overrides))
    check_directory(plan.experiment)
    with held([plan]):
        path = import_shard(plan, target, files, replace)
    console.print(f"{target}: imported into {path}", soft_wrap=True)
    plan = Plan(plan.experiment)  # which knows of the import
    console.print(next_step(plan, scan(plan)), soft_wrap=True)


@subcommand(
    "Show finished experiments side by side.",
    "Of a grid, every point is shown. The table is written to runs/comparisons/ too.",
    ABOUT_CONFIG,
    "For example: python -m jobs compare mnist_n10 mnist_n40",
)
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG ...")
@click.option(
    "--along", metavar="KEY", help="Draw the rates against this key, where the experiments differ in several."
)
@set_option
def compare(configs: tuple[str, ...], along: str | None, overrides: tuple[str, ...]) -> None:
    plans = [plan for config in configs for plan in plans_of(config, overrides)]
    found = summaries(plans)
    if along and not any(attack.curves for attack, _, _ in found):
        raise UserError(f"--along {along}: none of these experiments makes an attack whose rates are drawn as a curve")
    for attack, made, table in found:
        console.print(fitted(table, console.width))
        if len(made) > 1 or along:
            for line in write_comparison(attack, made, table, along):
                console.print(line, soft_wrap=True)


def main() -> None:
    """The console command `reconstruct`, the same as `python -m jobs`."""
    run_command(jobs)


if __name__ == "__main__":
    main()
