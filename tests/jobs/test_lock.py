"""The lock: one holder at a time, and none that is dead."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from jobs.lock import DEAD_AFTER_SECONDS, Owner, lock
from pipeline.errors import Failure


def owned_by(path, host, process):
    path.write_text(json.dumps(vars(Owner("run", host, process, time.time() - 300))))


def test_a_second_holder_is_told_who_holds_it_and_since_when(tmp_path):
    said = []
    told = rf"is being worked on by `run`, process {os.getpid()} on .*, since 0 min"
    with lock(tmp_path, "run", said.append), pytest.raises(Failure, match=told):
        lock(tmp_path, "resume", said.append).__enter__()
    with lock(tmp_path, "resume", said.append):
        pass
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_is_gone_is_broken_with_a_message(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owned_by(tmp_path / "lock", socket.gethostname(), gone.pid)
    said = []
    with lock(tmp_path, "resume", said.append):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    assert said == [
        f"the lock of `run`, process {gone.pid} on {socket.gethostname()}, since 5 min is broken: that process is gone"
    ]


def test_a_holder_on_another_host_counts_as_gone_only_when_it_is_long_silent(tmp_path):
    path, said = tmp_path / "lock", []
    owned_by(path, "elsewhere", 1)
    with pytest.raises(Failure, match="process 1 on elsewhere"):
        lock(tmp_path, "resume", said.append).__enter__()
    silent_since = time.time() - DEAD_AFTER_SECONDS - 60
    os.utime(path, (silent_since, silent_since))
    with lock(tmp_path, "resume", said.append):
        assert "elsewhere" in said[0]
