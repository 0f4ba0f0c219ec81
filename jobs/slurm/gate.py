"""Going on from the files: which stages are submitted next, by a person's `run` or by the gate behind a stage.

A gate is a small job that starts when the tasks of a stage are over, in whatever way. It looks at the files, submits
what is missing, or the stages that may now start; or it writes down why nothing more can be done.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.failures import failure_file, gate_failure_file, job_id, record_lost, write_failure
from jobs.scan import StageState, scan
from jobs.slurm import queue
from jobs.slurm.cluster import Cluster, load_cluster
from jobs.slurm.queue import QueuedJob
from jobs.slurm.submission import Chain, Submission, file_of, folder, read_submission, run_directory_of
from jobs.slurm.submit import submit_gate, submit_round
from pipeline.config import Experiment
from pipeline.errors import Failure
from pipeline.fingerprint import fingerprint
from pipeline.lock import lock
from stages.plan import Plan

MAX_ROUNDS = 100
PATIENCE_SECONDS = 600.0
Say = Callable[[str], None]


def start(plan: Plan, chain: Chain, cluster: Cluster, todo: Sequence[StageState], say: Say) -> None:
    """What a person's `run` and `resume` do: submit every stage that may start. The rest is the gates' work."""
    experiment = plan.experiment
    queue.forget_surrounding_job()
    jobs = queue.queued_jobs(experiment.run_directory)
    for job in jobs:
        record = file_of(experiment, job.name.stage, job.name.number)
        if record.exists() and read_submission(record).chain.plan != chain.plan:
            raise Failure(
                f"job {job.id} was submitted for other settings of {experiment.name} and is still {job.state.lower()}: "
                f"`python -m jobs cancel {experiment.arguments}` first, or give these settings a name: --set name=…"
            )
    for stage in plan.stages:
        gate_failure_file(experiment.run_directory, stage.name).unlink(missing_ok=True)
    submit_ready(plan, chain, cluster, todo, jobs, 1, say)


def go_on(record: str) -> None:
    """What the gate behind a submission does; whatever stops it is recorded where `status` shows it."""
    submission = read_submission(Path(record))
    chain, stage, run_directory = submission.chain, submission.stage, run_directory_of(Path(record))
    own_job = job_id()
    queue.forget_surrounding_job()
    try:
        queue.wait_for_answer(PATIENCE_SECONDS)
        with lock(run_directory, f"gate of {stage}", print, PATIENCE_SECONDS):
            plan = chain.read()
            states = {state.stage.name: state for state in scan(plan)}
            wanted, number_of_round = _go_on(plan, submission, states)
            jobs = [job for job in queue.queued_jobs(run_directory) if job.id != own_job]
            submit_ready(plan, chain, load_cluster(chain.cluster), wanted, jobs, number_of_round, print)
    except Exception as error:
        rerun = f"python -m jobs resume {chain.arguments}"
        write_failure(gate_failure_file(run_directory, stage), stage, "gate", error, rerun)
        raise


def _go_on(plan: Plan, submission: Submission, states: dict[str, StageState]) -> tuple[list[StageState], int]:
    """The stages to submit, as far as they are ready, and the number of their round."""
    finished = states[submission.stage]
    if not finished.todo:
        readers = [state for state in states.values() if finished.stage in plan.inputs(state.stage) and state.todo]
        print(f"{submission.stage}: all done")
        return [] if submission.chain.only else readers, 1
    missing = f"{len(finished.todo)} of {len(finished.shards)} shards missing after round {submission.round}"
    if progress_mark(plan, finished) == submission.mark:
        stop = "the last round made no progress"
    elif submission.round >= MAX_ROUNDS:
        stop = "that was the last round allowed"
    else:
        print(f"{submission.stage}: {missing}")
        return [finished], submission.round + 1
    print(f"{submission.stage}: {missing}, and {stop}: stopped")
    record_lost(plan.experiment, submission.stage, finished.todo, _why_lost(submission, plan.experiment))
    return [], 0


def _why_lost(submission: Submission, experiment: Experiment) -> str:
    """With the last thing that a task of the stage printed: the word of SLURM, or of a set-up line that went wrong."""
    printed = folder(experiment, submission.stage).glob("*_log.out")
    newest = max(printed, key=lambda path: path.stat().st_mtime_ns, default=None)
    lines = newest.read_text(errors="replace").split("\n") if newest else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    where = f"; {newest} ends with: {last}" if newest else ""
    return f"its task ended without a result: killed, out of memory or out of time{where}"


def progress_mark(plan: Plan, state: StageState) -> str:
    """Changes when a shard is made, or a checkpoint is renewed after which its shard did not fail."""
    done = [shard for shard, found in state.shards.items() if found.state == "done"]
    saved = {shard: _changed(plan.checkpoint_path(state.stage, shard)) for shard in state.todo}
    failed = {shard: _changed(failure_file(plan.experiment, state.stage.name, shard)) for shard in state.failed}
    good = {shard: changed for shard, changed in saved.items() if changed > failed.get(shard, 0)}
    return fingerprint({"done": done, "checkpoints": good})


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def submit_ready(
    plan: Plan,
    chain: Chain,
    cluster: Cluster,
    wanted: Sequence[StageState],
    jobs: Sequence[QueuedJob],
    number_of_round: int,
    say: Say,
) -> None:
    """Submit those of the stages that have all they read; what is in the queue already is left to go on."""
    experiment = plan.experiment
    for state in wanted:
        name = state.stage.name
        if any(found.state != "done" for other in plan.inputs(state.stage) for found in plan.standings(other).values()):
            continue
        tasks = [job for job in jobs if job.name.stage == name and not job.is_gate]
        if any(job.name.stage == name and job.is_gate for job in jobs):
            say(f"{name:<18} on its way: {len(tasks)} tasks queued or running, and the gate behind them")
        elif tasks:
            record = file_of(experiment, name, max(job.name.number for job in tasks))
            after = sorted({job.id.partition("_")[0] for job in tasks})
            gate = submit_gate(experiment, cluster, read_submission(record), record, after, go_on)
            say(f"{name:<18} {len(tasks)} tasks queued or running had lost their gate; it is now job {gate}")
        else:
            mark = progress_mark(plan, state)
            ids = submit_round(plan, chain, cluster, state.stage, state.todo, number_of_round, mark, go_on)
            say(f"{name:<18} submitted: {len(state.todo)} shards in job {', '.join(ids[:-1])}, gate {ids[-1]}")
