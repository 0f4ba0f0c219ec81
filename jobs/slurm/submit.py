"""Submitting to SLURM by submitit: the packs of a stage as arrays, and behind them the gate that goes on from there."""

import contextlib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm import slurm as sbatch

from jobs.slurm import queue
from jobs.slurm.cluster import Cluster, TaskOptions, task_options
from jobs.slurm.packs import Packing, pack
from jobs.slurm.queue import JobName
from jobs.slurm.submission import Chain, Submission, folder, next_number, write_submission
from jobs.slurm.task import run_pack
from pipeline import ROOT
from pipeline.config import Experiment
from pipeline.errors import Failure
from stages.plan import Plan
from stages.stage import Resources, Stage

GATE_MINUTES = 30
GATE_RESOURCES = Resources("cpu", threads=1, memory_gb=2.0)
GateWork = Callable[[str], None]
"""What a gate does, given the file of the submission that it stands behind: gate.go_on."""


@dataclass(frozen=True)
class Round:
    """One round of a stage, worked out and not yet submitted."""

    stage: Stage
    options: TaskOptions
    packing: Packing

    @classmethod
    def of(cls, plan: Plan, cluster: Cluster, stage: Stage, shards: Sequence[str], device: str) -> "Round":
        resources = plan.resources(stage)
        options = task_options(cluster, stage.name, resources, device)
        packing = pack(shards, resources.seconds_per_shard, options.task_minutes, options.time_limit_minutes)
        return cls(stage, options, packing)

    def script(self, experiment: Experiment) -> str:
        """The batch script that submitit would hand to sbatch for the first array."""
        name = JobName.of(experiment, self.stage.name, 1, "0")
        at = folder(experiment, self.stage.name)
        count = len(self.packing.packs)
        return sbatch._make_sbatch_string(
            command=f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(at))}",
            folder=at,
            map_count=count if count > 1 else None,
            **_task_parameters(self, name),
        )


def submit_round(
    plan: Plan,
    chain: Chain,
    cluster: Cluster,
    stage: Stage,
    shards: Sequence[str],
    number_of_round: int,
    mark: str,
    gate: GateWork,
) -> list[str]:
    """Submit `shards` as arrays with a gate behind them; returns the ids of the arrays, then the gate's.

    When the cluster takes only some of the arrays (a limit on queued jobs), the gate submits the rest in its turn.
    """
    experiment = plan.experiment
    planned = Round.of(plan, cluster, stage, shards, chain.device)
    number = next_number(experiment, stage.name)
    packs, device = planned.packing.packs, planned.options.device
    submission = Submission(chain, stage.name, number, number_of_round, mark, device, packs)
    record = write_submission(experiment, submission)
    ids: list[str] = []
    for array in planned.packing.arrays(queue.max_array_size()):
        name = JobName.of(experiment, stage.name, number, str(array.start))
        try:
            ids.append(_submit(record, _task_parameters(planned, name), list(array)))
        except Failure:
            if not ids:
                raise
            break
    return [*ids, submit_gate(experiment, cluster, submission, record, ids, gate)]


def submit_gate(
    experiment: Experiment,
    cluster: Cluster,
    submission: Submission,
    record: Path,
    after: Sequence[str],
    gate: GateWork,
) -> str:
    """The gate of a submission, to run once all the jobs `after` are over in whatever way; returns its id."""
    options = task_options(cluster, "gate", GATE_RESOURCES, "cpu")
    name = JobName.of(experiment, submission.stage, submission.number, "gate")
    parameters = {
        **_parameters(options, name),
        "time": min(GATE_MINUTES, options.time_limit_minutes or GATE_MINUTES),
        "dependency": "afterany:" + ":".join(after),
        "use_srun": False,  # a step may not submit jobs
    }
    with _submitting():
        executor = SlurmExecutor(folder(experiment, "gates"))
        executor.update_parameters(**parameters)
        return executor.submit(gate, str(record)).job_id


def _submit(record: Path, parameters: dict, positions: Sequence[int]) -> str:
    with _submitting():
        executor = SlurmExecutor(record.parent)
        executor.update_parameters(**parameters)
        jobs = executor.map_array(run_pack, [str(record)] * len(positions), positions)
    return jobs[0].job_id.partition("_")[0]


@contextlib.contextmanager
def _submitting() -> Iterator[None]:
    if not shutil.which("sbatch"):
        raise Failure("there is no SLURM here: sbatch is not to be found; log in to the cluster, or use another engine")
    try:
        yield
    except (FailedJobError, FailedSubmissionError) as error:
        raise Failure(f"sbatch refused: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise Failure(f"{error.filename or 'slurm/'}: cannot be written ({error.strerror})") from error


def _task_parameters(planned: Round, name: JobName) -> dict:
    options = planned.options
    return {
        **_parameters(options, name),
        "time": planned.packing.minutes,
        "cpus_per_task": options.threads,
        "gpus_per_node": options.gpus_per_node,
        "array_parallelism": options.concurrent_tasks,
        "signal_delay_s": options.warning_seconds,
        # srun no longer takes the job's own (SLURM 22.05), and signals reach only what srun started
        "srun_args": [f"--cpus-per-task={options.threads}"],
    }


def _parameters(options: TaskOptions, name: JobName) -> dict:
    hidden = [] if options.gpus_per_node else ["export CUDA_VISIBLE_DEVICES="]
    return {
        "job_name": str(name),
        "partition": options.partition,
        "account": options.account,
        "constraint": options.constraint,
        "mem": f"{options.memory_mb}M",
        "setup": [*options.setup, *hidden],
        "stderr_to_stdout": True,
        "wckey": None,
        "additional_parameters": {**options.extra, "chdir": str(ROOT), "requeue": True},
    }
