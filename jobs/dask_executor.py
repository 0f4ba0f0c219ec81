"""On Dask: a cluster of processes on this machine, or any scheduler that is already running."""

import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace

import dask
from distributed import Client, LocalCluster, as_completed, get_worker

from jobs.worker import Pack, Report, work_through
from pipeline.errors import UserError
from stages.stage import Resources

TOPIC = "reconstruction-reports"
TASK_SECONDS = 20.0
CONNECT_SECONDS = 10


def _work_on_dask(pack: Pack) -> None:
    worker = get_worker()
    work_through(pack, lambda report: worker.log_event(TOPIC, {"report": asdict(report)}))


class DaskExecutor:
    """Starts one single-threaded worker per core, or joins the scheduler at `address`, until it is left."""

    def __init__(self, address: str | None = None):
        self.address = address

    def __enter__(self) -> "DaskExecutor":
        logging.getLogger("distributed").setLevel(logging.ERROR)
        dask.config.set({"distributed.worker.daemon": True, "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s"})
        try:
            self._cluster = None if self.address else _local_cluster()
            self._client = Client(self.address or self._cluster)
        except (OSError, ValueError) as error:
            raise UserError(
                f"--scheduler {self.address}: no Dask scheduler answers there ({str(error).splitlines()[0]}); "
                "start one with `dask scheduler`, or leave the option out to use this machine"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        if self._cluster:
            self._cluster.close()

    def carry_out(self, pack: Pack, resources: Resources, tell: Callable[[Report], None]) -> None:
        """Run the pack's shards, as many at once as there are cores for their threads (or one, on the local GPU)."""
        cores = sum(self._client.nthreads().values())
        slots = 1 if self._cluster and _on_gpu(pack, resources) else max(1, cores // resources.threads)
        size = max(1, min(int(TASK_SECONDS / resources.seconds_per_shard), len(pack.shards) // (4 * slots)))
        waiting = deque(pack.shards[start : start + size] for start in range(0, len(pack.shards), size))
        self._client.subscribe_topic(TOPIC, lambda event: tell(Report(**event[1]["report"])))
        running = as_completed(with_results=True, raise_errors=False)

        def submit() -> None:
            task = replace(pack, shards=waiting.popleft())
            running.add(self._client.submit(_work_on_dask, task, pure=False))

        for _ in range(min(slots, len(waiting))):
            submit()
        for future, outcome in running:
            if future.status == "error":
                logging.getLogger(__name__).error("a worker was lost: %s", outcome)
            if waiting:
                submit()
        self._client.unsubscribe_topic(TOPIC)


def _local_cluster() -> LocalCluster:
    cores = len(os.sched_getaffinity(0))
    return LocalCluster(
        n_workers=cores, threads_per_worker=1, processes=True, memory_limit=None, dashboard_address=None
    )


def _on_gpu(pack: Pack, resources: Resources) -> bool:
    if pack.device == "cpu" or (pack.device == "auto" and resources.device == "cpu"):
        return False
    import torch

    return torch.cuda.is_available()
