"""The lock: one holder at a time, none that is dead, and nothing removed that is another's."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from pipeline import ROOT
from pipeline import lock as module
from pipeline.errors import Failure
from pipeline.lock import DEAD_AFTER_SECONDS, Owner, lock, look, remove


def owned_by(path, **changes):
    """A lock of this process, 5 min old, with changes."""
    path.write_text(json.dumps({**Owner.here("run").model_dump(), "since": time.time() - 300, **changes}))


def silent(path):
    since = time.time() - DEAD_AFTER_SECONDS - 60
    os.utime(path, (since, since), follow_symlinks=False)


def held(tmp_path) -> list[str]:
    """Take the lock once and give it back; returns what was said."""
    said = []
    with lock(tmp_path, "resume", said.append):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []
    return said


def test_a_second_holder_is_told_who_holds_it_and_since_when(tmp_path):
    told = rf"is being worked on by `run`, process {os.getpid()} on .*, since 0 min"
    with lock(tmp_path, "run", print), pytest.raises(Failure, match=told):
        lock(tmp_path, "resume", print).__enter__()
    assert held(tmp_path) == []


def test_the_lock_of_a_process_that_is_gone_is_broken_with_a_message(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owned_by(tmp_path / "lock", process=gone.pid)
    assert held(tmp_path) == [
        f"the lock of `run`, process {gone.pid} on {socket.gethostname()}, since 5 min is broken: that process is gone"
    ]


def test_a_process_id_that_was_given_again_a_reboot_and_a_zombie_are_no_holders(tmp_path):
    own = Owner.here("run")
    owned_by(tmp_path / "lock", started=own.started - 1)
    assert "that process is gone" in held(tmp_path)[0]
    owned_by(tmp_path / "lock", boot="an earlier one")
    assert "that process is gone" in held(tmp_path)[0]
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owned_by(tmp_path / "lock", process=zombie.pid, started=module._started(zombie.pid))
    with pytest.raises(Failure, match=f"process {zombie.pid} on"):
        lock(tmp_path, "resume", print).__enter__()
    zombie.stdin.close()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert "that process is gone" in held(tmp_path)[0]
    zombie.wait()


def test_a_holder_on_another_host_counts_as_gone_only_when_it_is_long_silent(tmp_path):
    path = tmp_path / "lock"
    owned_by(path, host="elsewhere", process=1)
    with pytest.raises(Failure, match="process 1 on elsewhere"):
        lock(tmp_path, "resume", print).__enter__()
    silent(path)
    assert "elsewhere" in held(tmp_path)[0]
    owned_by(path, host="elsewhere", process=1)
    os.utime(path, (4e9, 4e9))  # a beat in the year 2096
    assert "elsewhere" in held(tmp_path)[0]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"what": "run", "process": "../x"}', "\x00\xff", "[" * 9999])
def test_a_lock_that_names_no_holder_is_told_by_its_file_and_broken_when_it_is_old(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    with pytest.raises(Failure, match=rf"{path}: names no holder .*; `python -m jobs unlock` removes it"):
        lock(tmp_path, "resume", print).__enter__()
    silent(path)
    assert held(tmp_path) == [f"the lock of nobody that its lock file names ({path}) is broken: that process is gone"]


def test_a_dangling_link_a_directory_and_a_fifo_in_its_place_hang_nothing(tmp_path):
    path = tmp_path / "lock"
    path.symlink_to("/nowhere/at/all")
    with pytest.raises(Failure, match="names no holder"):
        lock(tmp_path, "resume", print).__enter__()
    silent(path)
    assert len(held(tmp_path)) == 1
    for make in (os.mkdir, os.mkfifo):
        make(path)
        silent(path)
        with pytest.raises(Failure, match="is in the place of the lock file and is no file; remove it"):
            lock(tmp_path, "resume", print).__enter__()
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_lock_that_became_another_s_is_left_to_it(tmp_path):
    path = tmp_path / "lock"
    with lock(tmp_path, "run", print):
        path.unlink()
        owned_by(path, host="elsewhere")
    assert look(path).owner.host == "elsewhere"


def test_who_judged_a_dead_lock_does_not_remove_the_one_that_came_after(tmp_path):
    path = tmp_path / "lock"
    owned_by(path, boot="an earlier one")
    judged = look(path)
    with lock(tmp_path, "second", lambda _: None):  # breaks it first
        assert not remove(judged)
        assert look(path).owner.what == "second"
    assert not remove(judged)


def test_the_beat_touches_its_own_lock_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    path, mine = tmp_path / "lock", Owner.here("run")
    path.write_text(mine.model_dump_json())
    released = threading.Event()
    beating = threading.Thread(target=module._beat, args=(path, mine, released))
    os.utime(path, (1, 1))
    beating.start()
    while path.stat().st_mtime == 1:
        time.sleep(0.001)
    released.set()
    beating.join()
    os.utime(path, (1, 1))
    other = Owner.here("run")
    released.clear()
    beating = threading.Thread(target=module._beat, args=(path, other, released))
    beating.start()
    time.sleep(0.1)
    released.set()
    beating.join()
    assert path.stat().st_mtime == 1


def test_eight_processes_of_which_a_third_die_holding_it_never_overlap_and_leave_nothing():
    """`python -m benchmarks.locks` makes 10,000 of it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.locks", "--acquisitions", "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 acquisitions by 8 processes" in done.stdout
    assert "overlaps: none; left behind: nothing" in done.stdout
