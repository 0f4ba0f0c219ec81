"""How an experiment stands, as a table and a word on what to type next."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.failures import FailureRecord, failure_file, gate_failure_file, read_record
from jobs.scan import StageState
from jobs.slurm import queue
from jobs.slurm.submission import file_of, latest_chain, read_submission
from jobs.spans import readable
from pipeline.config import Experiment
from pipeline.lock import look
from pipeline.report.table import Table
from pipeline.store import read_attributes
from stages.plan import Plan

SHOWN_STATES = ("done", "missing", "stale", "damaged")
ALWAYS_SHOWN = ("stage", "shards", "done", "missing")
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class QueuedShards:
    """Unfinished shards of a stage in tasks that run, and in tasks that wait."""

    running: int = 0
    queued: int = 0


def status_table(plan: Plan, states: Sequence[StageState], queued: Mapping[str, QueuedShards] | None) -> Table:
    """One row per stage: shards in each state, the time that finished shards took, and that the others will take.

    Of the columns that hold nothing, only those of every run are shown. CPU time counts a stage's threads.
    """
    rows = [_row(plan, state, (queued or {}).get(state.stage.name, QueuedShards())) for state in states]
    shown = [name for name in rows[0] if name in ALWAYS_SHOWN or any(row[name] for row in rows)] if rows else []
    return Table(shown, [[row[name] for name in shown] for row in rows], "status")


def _row(plan: Plan, state: StageState, queued: QueuedShards) -> dict[str, str]:
    resources = plan.resources(state.stage)
    left = len(state.todo) * (state.mean_seconds or resources.seconds_per_shard)
    on_gpu = resources.device == "gpu" and not state.seconds(gpu=False)
    counts = {"shards": len(state.shards), **{name: state.count(name) for name in SHOWN_STATES}}
    counts |= {"running": queued.running, "queued": queued.queued, "failed": len(state.failed)}
    times = {
        "CPU time": resources.threads * state.seconds(gpu=False),
        "GPU time": state.seconds(gpu=True),
        "CPU time left": 0.0 if on_gpu else resources.threads * left,
        "GPU time left": left if on_gpu else 0.0,
    }
    return {
        "stage": state.stage.name,
        **{name: str(count or "") for name, count in counts.items()},
        **{name: readable(value) if value else "" for name, value in times.items()},
    }


def in_queue(plan: Plan, states: Sequence[StageState]) -> dict[str, QueuedShards] | None:
    """Of every stage, the unfinished shards in tasks that SLURM holds; None when nothing was ever submitted to it."""
    experiment = plan.experiment
    if not latest_chain(experiment):
        return None
    found: dict[str, QueuedShards] = {}
    jobs = queue.queued_jobs(experiment.run_directory, ANSWER_SECONDS)
    for state in states:
        name, todo = state.stage.name, set(state.todo)
        shards: dict[bool, set[str]] = {True: set(), False: set()}
        own = [job for job in jobs if job.name.stage == name]
        for job in own:
            if job.name.part.isdigit():
                packs = read_submission(file_of(experiment, name, job.name.number)).packs
                shards[job.running] |= todo.intersection(*packs[job.pack : job.pack + 1])
        if own:
            found[name] = QueuedShards(len(shards[True]), len(shards[False] - shards[True]))
    return found


def next_step(plan: Plan, states: Sequence[StageState], queued: Mapping[str, QueuedShards] | None = None) -> str:
    """What to type next, and the last error if there is one."""
    experiment = plan.experiment
    chain = latest_chain(experiment)
    arguments = replace(chain, overrides=experiment.overrides).arguments if chain else experiment.arguments
    said = []
    if record := last_failure(experiment, states):
        said.append(f"{record.stage} {record.shard}, {record.time}: {record.message}")
        if record.shard != "gate":
            said.append(f"more:  python -m jobs logs {experiment.arguments} {record.stage} {record.shard}")
    if queued:
        said.append(f"SLURM is at work on {', '.join(queued)}; nothing to type. To end it:")
        said.append(f"       python -m jobs cancel {experiment.arguments}")
    elif any(state.todo for state in states) and (holder := working(experiment)):
        said.append(f"at work on it: {holder}; nothing to type")
    elif any(state.todo for state in states):
        said.append(f"next:  python -m jobs {'resume' if record or chain else 'run'} {arguments}")
    elif states and states[-1].stage.name == "report":
        report = plan.path(states[-1].stage, "report")
        if verdict := read_attributes(report).get("verdict"):
            said.append(str(verdict))
        said.append(f"all done; the report: {report.with_name('index.html')}")
    else:
        said.append("all done")
    return "\n".join(said)


def working(experiment: Experiment) -> str | None:
    """The command that holds the experiment's lock and is alive, in words."""
    if not os.path.isdir(experiment.run_directory):  # noqa: PTH112 Path.is_dir raises where a name is too long
        return None
    found = look(experiment.run_directory / "lock")
    return str(found) if found and found.alive else None


def last_failure(experiment: Experiment, states: Sequence[StageState]) -> FailureRecord | None:
    """The newest record of a shard that failed, or of a gate that could not go on."""
    if not any(state.todo for state in states):
        return None
    files = [gate_failure_file(experiment.run_directory, state.stage.name) for state in states]
    files += [failure_file(experiment, state.stage.name, shard) for state in states for shard in state.failed]
    newest = max((path for path in files if path.exists()), key=lambda path: path.stat().st_mtime_ns, default=None)
    return read_record(newest) if newest else None


def logged(experiment: Experiment, stage: str, shard: str | None) -> list[str]:
    """Lines of all task logs of a stage, in order of time; with `shard`, those that speak of it."""
    files = (experiment.run_directory / "logs" / stage).glob("*.log")
    texts = (file.read_text(errors="replace") for file in files if file.is_file())
    lines = sorted((line for text in texts for line in text.splitlines() if line), key=lambda line: line[:19])
    return [line for line in lines if shard is None or f"  {shard}  " in line]
