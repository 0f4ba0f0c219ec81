"""Working through a list of shards in one process: what every executor calls, wherever it runs."""

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.failures import forget_failure, job_id, record_failure
from pipeline.config import Experiment
from pipeline.interruption import Interrupted, stop_asked
from stages import stage_named
from stages.plan import Plan

LOG_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Pack:
    """The shards of one task."""

    experiment: Experiment
    stage: str
    shards: tuple[str, ...]
    device: str


@dataclass(frozen=True)
class Report:
    """What a worker tells while it works: `state` is working, done or failed."""

    shard: str
    state: str
    done: int = 0
    total: int = 0
    text: str = ""


def work_through(pack: Pack, tell: Callable[[Report], None]) -> list[str]:
    """Make every shard of the pack; one that fails is recorded and the pack goes on. Returns the failed shards.

    A process that is asked to stop finishes the shard in hand, or leaves it at a checkpoint, and takes no other.
    """
    from stages.execution import make_shard

    plan, stage = Plan(pack.experiment), stage_named(pack.stage)
    log = task_log(pack.experiment, pack.stage)
    failed = []
    for position, shard in enumerate(pack.shards):
        if asked := stop_asked():
            log.info("%s: stopped before %s; %d shards left", asked, shard, len(pack.shards) - position)
            break
        started, last_line = time.monotonic(), time.monotonic()

        def progress(done: int, total: int, text: str, shard: str = shard) -> None:
            nonlocal last_line
            tell(Report(shard, "working", done, total, text))
            if time.monotonic() - last_line > LOG_EVERY_SECONDS:
                last_line = time.monotonic()
                log.info("%s  %d/%d %s", shard, done, total, text)

        try:
            made = make_shard(plan, stage, shard, pack.device, progress)
        except Interrupted as interruption:
            log.info("%s  left at its checkpoint: %s", shard, interruption)
        except Exception as error:
            record = record_failure(pack.experiment, pack.stage, shard, error)
            log.error("%s  failed: %s\n%s", shard, record.message, record.traceback)
            failed.append(shard)
            tell(Report(shard, "failed", text=record.message))
        else:
            forget_failure(pack.experiment, pack.stage, shard)
            log.info("%s  %s in %.1f s", shard, "done" if made else "was done already", time.monotonic() - started)
            tell(Report(shard, "done"))
    return failed


def task_log(experiment: Experiment, stage: str) -> logging.Logger:
    """This task's log of a stage: runs/<experiment>/logs/<stage>/<host>-<process>.log, or <job>.log on SLURM."""
    task = job_id() or f"{socket.gethostname()}-{os.getpid()}"
    path = experiment.run_directory / "logs" / stage / f"{task}.log"
    log = logging.getLogger(str(path))
    if not log.handlers:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log
