"""The local Dask cluster: who may use it, what listens, what runs at once, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from jobs.executors import dask as dask_executor
from jobs.executors.dask import DaskExecutor, shards_at_once
from jobs.worker import Pack
from pipeline import ROOT
from stages.stage import Resources

INTRUDER = """
import sys
from distributed import Client, Security
scheme, address, left = sys.argv[1:]
with Client(f"{scheme}://{address}", timeout=3, security=Security.temporary() if scheme == "tls" else None) as client:
    client.run_on_scheduler(open, left, "w")
"""


@pytest.fixture(scope="module")
def executor():
    with DaskExecutor() as entered:
        yield entered


@pytest.mark.parametrize("user", ["the same user", "nobody"])
def test_a_client_without_the_run_s_certificates_is_refused(executor, tmp_path, user):
    address = executor._client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    left = tmp_path / "left"
    become = []
    if user == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can be somebody else")
        become = ["setpriv", "--reuid=nobody", "--clear-groups"]
        tmp_path.chmod(0o777)
    intruders = [
        subprocess.Popen(
            [*become, sys.executable, "-c", INTRUDER, scheme, address.removeprefix("tls://"), str(left)],
            cwd="/",
            stderr=subprocess.PIPE,
            text=True,
        )
        for scheme in ("tcp", "tls")
    ]
    for intruder in intruders:
        said = intruder.communicate()[1]
        assert intruder.returncode == 1
        assert "in _ensure_connected" in said, said[-2000:]
    assert not left.exists()


def test_everything_listens_on_this_machine_alone_and_nothing_is_served_by_http(executor):
    own = psutil.Process()
    listening = [
        connection.laddr
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert 8787 not in {address.port for address in listening}


def test_shards_are_admitted_by_cores_and_by_memory():
    gib = 2.0**30
    assert shards_at_once(Resources(threads=2, memory_gb=1), 8, 100 * gib) == 4
    assert shards_at_once(Resources(threads=1, memory_gb=3), 8, 10 * gib) == 3
    assert shards_at_once(Resources(threads=1, memory_gb=30), 8, 10 * gib) == 1
    assert shards_at_once(Resources(threads=16, memory_gb=1), 8, 10 * gib) == 1


def noted(pack):
    """Stands for the work on a pack: writes down when it begins and when it ends."""
    journal = Path(pack.experiment)
    with journal.open("a") as file:
        file.write("begins\n")
    time.sleep(0.2)
    with journal.open("a") as file:
        file.write("ends\n")


@pytest.mark.parametrize(("memory_gb", "at_once"), [(2.0, 1), (1.0, 2)])
def test_what_runs_at_once_stays_under_the_memory_of_the_machine(executor, tmp_path, monkeypatch, memory_gb, at_once):
    """A machine of 3 GiB: two shards of 1 GB run beside one another, two of 2 GB do not."""
    monkeypatch.setattr(dask_executor, "MEMORY_LIMIT", 3 * 2**30)
    monkeypatch.setattr(dask_executor, "_work_on_dask", noted)
    monkeypatch.setattr(executor, "_client", executor._client)
    monkeypatch.setattr(executor._client, "nthreads", lambda: {"one": 1, "two": 1})
    journal = tmp_path / "journal"
    pack = Pack(str(journal), "stage", ("a", "b", "c", "d"), "cpu")
    executor.carry_out(pack, Resources(memory_gb=memory_gb), print)
    most = running = 0
    for line in journal.read_text().split():
        running += 1 if line == "begins" else -1
        most = max(most, running)
    assert most <= at_once
    assert running == 0


def command(tmp_path, *more) -> list[str]:
    return [sys.executable, "-m", "jobs", "run", "kkt_red_blue", "--set", f"paths.runs={tmp_path}", *more]


def test_ctrl_c_is_one_line(tmp_path):
    """A terminal sends it to every process of the command; a worker is in the middle of an attack."""
    process = subprocess.Popen(
        command(tmp_path, "--set", "kkt.attack.iterations=1000000"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )
    at_work = tmp_path / "kkt_red_blue" / "logs" / "kkt_attack"
    while process.poll() is None and not at_work.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert said.strip().splitlines() == [  # click ends the line of ^C first
        "error: interrupted; what is finished is kept, and `python -m jobs resume` goes on from it"
    ]
    assert not (tmp_path / "kkt_red_blue" / "lock").exists()


def test_a_scratch_directory_that_cannot_be_made_is_one_line(tmp_path):
    environment = {**os.environ, "DASK_TEMPORARY_DIRECTORY": "/proc/nowhere"}
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Dask cannot start its workers here (")
    assert len(done.stderr.splitlines()) == 1
