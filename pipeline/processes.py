"""Several processes that make one shard together, one GPU each: started by torchrun, or by srun on one node."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Processes:
    """This process's number among all, and among those of its node, which is that of its GPU."""

    rank: int = 0
    size: int = 1
    on_node: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0


ALONE = Processes()


def started() -> Processes:
    """What torchrun, or srun with more than one task, says of this process; ALONE when neither started it."""
    told = os.environ
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= told.keys():
        return Processes(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"]))
    if int(told.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return Processes(int(told["SLURM_PROCID"]), int(told["SLURM_STEP_NUM_TASKS"]), int(told["SLURM_LOCALID"]))
    return ALONE


@contextmanager
def joined(processes: Processes, device: torch.device) -> Iterator[None]:
    """While inside, gradients can be averaged over all processes (NCCL on GPUs, Gloo on CPUs)."""
    if processes.size == 1:
        yield
        return
    from torch import distributed

    meeting = None
    if "MASTER_ADDR" not in os.environ:  # srun names no address to meet at
        meeting = f"tcp://127.0.0.1:{20000 + int(os.environ['SLURM_JOB_ID']) % 20000}"
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=meeting, rank=processes.rank, world_size=processes.size)
    try:
        yield
    finally:
        distributed.destroy_process_group()
