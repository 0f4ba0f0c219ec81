"""Making one shard: the same function for every executor and for `python -m stages.<stage>`."""

import os
import socket
import time

import torch

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Damaged, Failure, UserError
from pipeline.files import remove_leftovers, set_aside
from pipeline.fingerprint import canonical_json
from pipeline.processes import ALONE, Processes, joined
from pipeline.store import Result, software, standing, write_shard
from stages.plan import Plan
from stages.stage import Progress, Stage, Work


def make_shard(
    plan: Plan, stage: Stage, shard: str, device: str, progress: Progress, processes: Processes = ALONE
) -> Result | None:
    """Make `shard` and write it; returns None when it is done already.

    `device` is auto, cpu or cuda. A damaged file of its name is set aside, as is a damaged input, which is then to be
    made first; a stale one is replaced. Of several `processes` that make it together the first writes. Raises Failure
    where a file that was imported does not fit: only an import replaces that.
    """
    experiment, path = plan.experiment, plan.path(stage, shard)
    expected = plan.fingerprints(stage)[shard]
    remove_leftovers(path.parent)
    found = standing(path, expected)
    if found.state == "done":
        return None
    if plan.imported(stage, shard):
        raise Failure(f"{path}: was imported and is {found.state}; import it again, or remove it")
    if found.state == "damaged" and processes.first:
        set_aside(path, found.why)
    resources = plan.resources(stage)
    checkpoint = Checkpoint(plan.checkpoint_path(stage, shard), expected, writes=processes.first)
    work = Work(
        experiment=experiment,
        shard=shard,
        path=path,
        inputs=plan.read_inputs(stage),
        device=choose_device(device, resources.device, processes),
        checkpoint=checkpoint,
        progress=progress,
        processes=processes,
    )
    started = time.monotonic()
    _fix_order_of_sums(resources.threads)
    try:
        with joined(processes, work.device):
            result = stage.run(work)
    except Damaged as damage:
        if not processes.first:
            raise
        aside = set_aside(damage.path, damage.why)
        raise Failure(
            f"{damage.path}: {damage.why}; it was set aside as {aside.name}, and `python -m jobs resume "
            f"{experiment.arguments}` makes it again"
        ) from damage
    if not processes.first:
        return result
    write_shard(
        path,
        result,
        expected,
        {
            "stage": stage.name,
            "shard": shard,
            "settings": canonical_json(stage.settings(experiment, shard)),
            "host": socket.gethostname(),
            "job_id": os.environ.get("SLURM_JOB_ID", ""),
            "wall_seconds": time.monotonic() - started,
            "device": torch.cuda.get_device_name(work.device) if work.device.type == "cuda" else "cpu",
            "threads": resources.threads,
            "processes": processes.size,
            **software(),
        },
    )
    checkpoint.remove()
    return result


def choose_device(asked: str, wanted: str, processes: Processes = ALONE) -> torch.device:
    """auto = a GPU for the stages that want one, where there is one; of several processes each takes its own."""
    if asked not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {asked}: choose auto, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: PyTorch sees no GPU here; use --device cpu, or auto to take one where there is one"
        )
    use_gpu = asked == "cuda" or (asked == "auto" and wanted == "gpu" and torch.cuda.is_available())
    if not use_gpu:
        return torch.device("cpu")
    # srun may show every task its own GPU only
    device = torch.device("cuda", processes.on_node % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _fix_order_of_sums(threads: int) -> None:
    """Equal bytes from equal work: a fixed number of threads, and no algorithm chosen by a race or a timing."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
