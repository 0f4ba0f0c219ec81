"""On Dask: processes on this machine, any scheduler that is already running, or workers that are SLURM jobs.

What a scheduler is told it executes, so whatever is started here speaks TLS with certificates made for the one run: a
client without them is refused. Nothing is served by HTTP.
"""

import contextlib
import logging
import math
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from multiprocessing import resource_tracker

import dask
from distributed import Client, LocalCluster, Security, as_completed, get_worker
from distributed.system import MEMORY_LIMIT

from jobs.slurm import queue
from jobs.slurm.cluster import Cluster, task_options
from jobs.slurm.queue import JobName
from jobs.worker import Pack, Report, work_through
from pipeline import ROOT
from pipeline.errors import UserError
from stages.stage import Resources

TOPIC = "reconstruction-reports"
TASK_SECONDS = 20.0
MALLOC_THRESHOLDS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
KEPT_BYTES = 2**30
"""Dask tells workers to give freed memory back at once; a training step then spends half its time on page faults."""
CONNECT_SECONDS = 10
NO_DASHBOARD = "127.0.0.1:0"
"""Dask opens a port for its pages even where there are none; on this machine alone, wherever one is free."""
DAY_MINUTES = 24 * 60


def _work_on_dask(pack: Pack) -> None:
    worker = get_worker()
    work_through(pack, lambda report: worker.log_event(TOPIC, {"report": asdict(report)}))


class DaskExecutor:
    """One single-threaded worker per core of this machine, the scheduler at `address`, or SLURM jobs at a `site`."""

    def __init__(self, address: str | None = None, site: Cluster | None = None):
        self.address, self.site = address, site
        self._open = contextlib.ExitStack()
        self._local: LocalCluster | None = None

    def __enter__(self) -> "DaskExecutor":
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is recorded, or said in one line
        dask.config.set(
            {
                "distributed.worker.daemon": True,
                "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
                "distributed.scheduler.http.routes": [],
                "distributed.worker.http.routes": [],
                "distributed.nanny.pre-spawn-environ": {name: str(KEPT_BYTES) for name in MALLOC_THRESHOLDS},
            }
        )
        if not self.site:
            self._client = self._open.enter_context(self._connected())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind and self._local:  # or the workers' shards would be waited for
            for nanny in self._local.workers.values():
                nanny.auto_restart = False
                if nanny.pid:
                    os.kill(nanny.pid, signal.SIGKILL)
        self._open.close()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Client]:
        with contextlib.ExitStack() as opened:
            try:
                self._local = None if self.address else opened.enter_context(_local_cluster())
                client = opened.enter_context(Client(self.address or self._local))
            except (OSError, ValueError, RuntimeError, TypeError) as error:
                raise UserError(self._not_there(error)) from error
            yield client

    def _not_there(self, error: Exception) -> str:
        while not self.address and error.__cause__:  # "Cluster failed to start" says nothing of why
            error = error.__cause__
        why = (str(error).splitlines() or [type(error).__name__])[0]
        if self.address:
            return (
                f"--scheduler {self.address}: no Dask scheduler answers there ({why}); start one with "
                "`dask scheduler`, or leave the option out to use this machine. One with TLS is tls://host:port; "
                "its certificates stand in Dask's configuration, under distributed.comm.tls"
            )
        return (
            f"Dask cannot start its workers here ({why}); DASK_TEMPORARY_DIRECTORY names another place for their "
            "scratch files, and --executor inline needs none"
        )

    def carry_out(self, pack: Pack, resources: Resources, tell: Callable[[Report], None]) -> None:
        """Run the pack's shards: as many at once as have cores and memory, or one on the local GPU."""
        if self.site:
            with _slurm_workers(self.site, pack, resources) as (client, jobs):
                _distribute(client, pack, resources, jobs, tell)
            return
        local_gpu = not self.address and _on_gpu(pack, resources)
        at_once = 1 if local_gpu else shards_at_once(resources, *self._capacity())
        _distribute(self._client, pack, resources, at_once, tell)

    def _capacity(self) -> tuple[int, float]:
        """Cores and bytes of memory of the workers together; a worker without a limit has all that there is."""
        cores = sum(self._client.nthreads().values())
        if not self.address:
            return cores, MEMORY_LIMIT
        limits = self._client.run_on_scheduler(_MEMORY_LIMITS)
        return cores, sum(limit or math.inf for limit in limits)


# by value, since a scheduler that runs elsewhere need not have this module
_MEMORY_LIMITS = lambda dask_scheduler: [worker.memory_limit for worker in dask_scheduler.workers.values()]  # noqa: E731


def shards_at_once(resources: Resources, cores: int, memory_bytes: float) -> int:
    """How many shards fit beside one another; one that asks for more than there is runs alone."""
    by_memory = memory_bytes / (resources.memory_gb * 2**30)
    return max(1, int(min(cores // resources.threads, by_memory)))


def _distribute(client: Client, pack: Pack, resources: Resources, slots: int, tell: Callable[[Report], None]) -> None:
    """Keep `slots` tasks of a few shards each under way until the pack is worked through."""
    size = max(1, min(int(TASK_SECONDS / resources.seconds_per_shard), len(pack.shards) // (4 * slots)))
    waiting = deque(pack.shards[start : start + size] for start in range(0, len(pack.shards), size))
    client.subscribe_topic(TOPIC, lambda event: tell(Report(**event[1]["report"])))
    running = as_completed(with_results=True, raise_errors=False)

    def submit() -> None:
        task = replace(pack, shards=waiting.popleft())
        running.add(client.submit(_work_on_dask, task, pure=False))

    for _ in range(min(slots, len(waiting))):
        submit()
    for future, outcome in running:
        if future.status == "error":
            logging.getLogger(__name__).error("a worker was lost: %s", outcome)
        if waiting:
            submit()
    client.unsubscribe_topic(TOPIC)


def _local_cluster() -> LocalCluster:
    cores = len(os.sched_getaffinity(0))
    with _unheard_by_what_is_started():
        return LocalCluster(
            n_workers=cores,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            security=_certificates(),
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": NO_DASHBOARD},
            silence_logs=logging.CRITICAL,
        )


def _certificates() -> Security:
    try:
        return Security.temporary()
    except ImportError:
        raise UserError("--executor dask needs the package cryptography: `pip install cryptography`") from None


@contextlib.contextmanager
def _unheard_by_what_is_started() -> Iterator[None]:
    """Ctrl-C, which a terminal sends to all processes, is for this one: it ends the others, as it does at other times.

    Threads and processes inherit that the signal is blocked, so that workers that are started again later do too.
    """
    resource_tracker.ensure_running()  # which unblocks the signal where it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _slurm_workers(site: Cluster, pack: Pack, resources: Resources) -> Iterator[tuple[Client, int]]:
    """A SLURM job for each of the workers of one stage, which ends with it; one task at a time on each."""
    from dask_jobqueue import SLURMCluster

    experiment = pack.experiment
    options = task_options(site, pack.stage, resources, pack.device)
    queue.forget_surrounding_job()
    hours, minutes = divmod(options.time_limit_minutes or DAY_MINUTES, 60)
    directives = {
        "constraint": options.constraint,
        "gpus-per-node": options.gpus_per_node,
        "chdir": ROOT,
        **options.extra,
    }
    logs = experiment.run_directory / "slurm" / "dask"
    logs.mkdir(parents=True, exist_ok=True)
    cluster = SLURMCluster(
        queue=options.partition,
        account=options.account,
        cores=1,
        job_cpu=options.threads,
        memory=f"{options.memory_mb}MiB",
        walltime=f"{hours:02d}:{minutes:02d}:00",
        job_name=str(JobName.of(experiment, pack.stage, 0, "dask")),
        log_directory=str(logs),
        job_script_prologue=[*options.setup, *([] if options.gpus_per_node else ["export CUDA_VISIBLE_DEVICES="])],
        job_extra_directives=[
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in directives.items()
            if value is not None
        ],
        scheduler_options={"dashboard_address": NO_DASHBOARD, "dashboard": False},
        worker_extra_args=["--dashboard-address", NO_DASHBOARD],
        security=_certificates(),
        shared_temp_directory=str(logs),
    )
    with cluster, Client(cluster) as client:
        jobs = min(options.concurrent_tasks, len(pack.shards))
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # what SLURM takes away is asked for again
        yield client, jobs


def _on_gpu(pack: Pack, resources: Resources) -> bool:
    if pack.device == "cpu" or (pack.device == "auto" and resources.device == "cpu"):
        return False
    import torch

    return torch.cuda.is_available()
