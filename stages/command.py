"""`python -m stages.<stage> CONFIG`: one stage, here, now."""

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext

import click
from rich.console import Console
from rich.status import Status

from pipeline.config import Experiment, load
from pipeline.errors import Failure, UserError
from pipeline.lock import lock
from stages.plan import Plan
from stages.stage import Progress, Stage

LINE_EVERY_SECONDS = 15.0

ABOUT_CONFIG = """CONFIG is an experiment: the name of one in config_data/, such as demo, or the path of a YAML file of
your own, such as ../mine.yml. `python -m jobs list` shows the names."""

config_argument = click.argument("config")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one key of the experiment, such as shadow_models.seeds=20; may be given several times.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What to compute on; auto takes a GPU for the stages that gain from one, where there is one.",
)


def main(stage: Stage, description: str, report: Callable[[Experiment], str] | None = None) -> None:
    """The command line of one stage; `report` is what a stage can say of an experiment without making anything."""

    @click.command(help=f"{description}\n\n{ABOUT_CONFIG}")
    @config_argument
    @click.option("--shard", help="Make this shard only, such as train-00000; without it, all that are missing.")
    @click.option("--replace", is_flag=True, help="Also make again shards that are finished for other settings.")
    @set_option
    @device_option
    def command(
        config: str,
        shard: str | None,
        replace: bool,
        overrides: tuple[str, ...],
        device: str,
        only_report: bool = False,
    ) -> None:
        if only_report:
            click.echo(report(load(config, overrides)))
        else:
            _make(stage, config, shard, replace, overrides, device)

    if report:
        command.params.append(click.Option(["--report", "only_report"], is_flag=True, help=report.__doc__))
    run_command(command)


def _make(stage: Stage, config: str, shard: str | None, replace: bool, overrides: tuple[str, ...], device: str) -> None:
    plan = Plan(load(config, overrides))
    names = stage.shards(plan.experiment)
    if not names:
        raise UserError(f"{plan.experiment.source}: this experiment has nothing for the stage {stage.name}")
    if shard is not None and shard not in names:
        shown = ", ".join(names[:3]) + (f", … {names[-1]}" if len(names) > 3 else "")
        raise UserError(f"--shard {shard}: {stage.name} has no such shard; there are {len(names)}: {shown}")
    wanted = [shard] if shard else names
    if not replace:
        _refuse_stale(plan, stage, wanted)
    check_directory(plan.experiment)
    stage.check(plan.experiment)
    from pipeline.processes import started
    from stages.execution import choose_device, make_shard

    processes = started()
    choose_device(device, plan.resources(stage).device, processes)
    if processes.size > 1 and not stage.together:
        raise UserError(
            f"{processes.size} processes were started, but {stage.name} is not multi-process; run its shards in "
            "parallel"
        )
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=not processes.first)
    with lock(plan.experiment.run_directory, stage.name, console.print) if processes.first else nullcontext():
        for name in wanted:
            with console.status(f"{stage.name} {name}") as line:
                try:
                    told = _progress(console, line, f"{stage.name} {name}")
                    result = make_shard(plan, stage, name, device, told, processes)
                except UserError as error:
                    raise UserError(f"{stage.name} {name}: {error}") from error
                except Failure as error:
                    raise Failure(f"{stage.name} {name}: {error}") from error
            done = "written to" if result else "done already,"
            console.print(f"{stage.name} {name}: {done} {plan.path(stage, name)}")
            for key, value in (result.attributes if result else {}).items():
                console.print(f"  {key} = {value}")


def _refuse_stale(plan: Plan, stage: Stage, shards: list[str]) -> None:
    standings = plan.standings(stage)
    if stale := [shard for shard in shards if standings[shard].state == "stale"]:
        raise UserError(
            f"{plan.path(stage, stale[0])}: is finished for other settings; --replace makes it again for these, "
            "--set paths.runs=DIRECTORY keeps both"
        )


def check_directory(experiment: Experiment) -> None:
    """Make the run directory; raises UserError where it cannot be written."""
    directory = experiment.run_directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise UserError(
            f"paths.runs: {directory} cannot be written ({error.strerror}); choose another: --set paths.runs=DIRECTORY"
        ) from error


def _progress(console: Console, line: Status, what: str) -> Progress:
    """A moving line for a person, a printed one now and then for a log."""
    printed = time.monotonic()

    def show(done: int, total: int, text: str) -> None:
        nonlocal printed
        line.update(f"{what}: {done}/{total} {text}")
        if not console.is_terminal and time.monotonic() - printed > LINE_EVERY_SECONDS:
            printed = time.monotonic()
            console.print(f"{what}: {done}/{total} {text}")

    return show


def run_command(command: click.Command) -> None:
    """Run a command line; what goes wrong is one line on stderr, with exit code 2 (user's mistake) or 1 (failure)."""
    try:
        code = command(standalone_mode=False) or 0
    except UserError as error:
        code = _complain(str(error), 2)
    except Failure as error:
        code = _complain(str(error), 1)
    except click.ClickException as error:
        code = _complain(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted; what is finished is kept, and `python -m jobs resume` goes on from it", 130)
    except BrokenPipeError:
        code = 1
    except Exception as error:
        code = _complain(_unforeseen(error), 1)
    sys.exit(_flushed(code))


def _unforeseen(error: Exception) -> str:
    """What the system refused, or a defect of this program: in one line, with the place of the full traceback."""
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename or 'what is printed'}: {error.strerror}"
    else:
        what = f"a defect of this program: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="reconstruction-", suffix=".traceback", delete=False) as file:
            file.writelines(traceback.format_exception(error))
        where = f"the traceback is in {file.name}"
    except OSError as refused:
        where = f"the traceback could not be saved ({refused.strerror})"
    return f"{what}; {where}"


def _flushed(code: int) -> int:
    """Flush standard output now, so that a full or closed device is reported in one line."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except OSError as error:
        if not code and not isinstance(error, BrokenPipeError):
            _complain(f"what is printed: {error.strerror}", 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor tried again when Python ends
        return code or 1
    return code


def _complain(message: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"error: {_printable(message)}", file=sys.stderr)
    return code


def _printable(message: str) -> str:
    """One line, without the control characters that foreign text may hold."""
    return "".join(character for character in " ".join(message.split()) if character.isprintable())
