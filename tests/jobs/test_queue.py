"""What squeue prints: an experiment's own jobs, whatever stands among them."""

import os

import pytest

from jobs.slurm.queue import JobName, QueuedJob, directory_mark, queued_jobs
from pipeline.errors import Failure


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Puts a squeue on the path that prints these bytes and ends with this code."""

    def install(printed: bytes, code: int = 0) -> None:
        (tmp_path / "printed").write_bytes(printed)
        program = tmp_path / "squeue"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/printed; cat {tmp_path}/printed >&2; exit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


def test_own_jobs_are_found_among_lines_that_are_none(squeue, tmp_path):
    mark = directory_mark(tmp_path)
    squeue(
        f"""Welcome to the cluster: maintenance | on | Monday
12_3|RUNNING|my.own.exp.kkt_attack.1.0.{mark}
13|PENDING|my.own.exp.kkt_attack.1.gate.{mark}
14|RUNNING|my.own.exp.kkt_attack.1.0.0123456789
15|RUNNING|my.own.exp.kkt_attack.x.0.{mark}
16|RUNNING|my.own.exp.kkt_attack.1.x.{mark}
17_[1-4]|PENDING|my.own.exp.kkt_attack.1.0.{mark}
|||
18|RUNNING|somebody|else|s
slurm_load_jobs error
""".encode()
        + b"19|RUNNING|\xff\xfe\n\n"
    )
    name = {"experiment": "my.own.exp", "stage": "kkt_attack", "number": 1, "directory": mark}
    assert queued_jobs(tmp_path) == [
        QueuedJob("12_3", "RUNNING", JobName(part="0", **name)),
        QueuedJob("13", "PENDING", JobName(part="gate", **name)),
    ]


def test_a_refusal_that_is_no_utf_8_is_one_line(squeue, tmp_path):
    squeue(b"no \xff\nanswer\n", code=1)
    with pytest.raises(Failure, match=r"squeue: no . answer"):
        queued_jobs(tmp_path)
