"""Shards: whole or not there, whatever happens; believed only when they say what they are."""

import errno
import io
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import ROOT
from pipeline.errors import Damaged, Failure
from pipeline.files import atomic_write, remove_leftovers, set_aside
from pipeline.seal import seal
from pipeline.store import Result, Shards, read_arrays, standing, verify_shard, write_shard

FINGERPRINT = "a" * 64
PROVENANCE = {"wall_seconds": 1.0, "device": "cpu"}


def write(path, fingerprint=FINGERPRINT, rows=10, files=None):
    arrays = {"weights": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3), "count": np.int64(rows)}
    write_shard(path, Result(arrays, {"epsilon": 5.0}, files or {}), fingerprint, PROVENANCE)
    return arrays


def test_what_is_written_is_read_back(tmp_path):
    arrays = write(tmp_path / "a.h5")
    read = read_arrays(tmp_path / "a.h5")
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    assert standing(tmp_path / "a.h5", FINGERPRINT).state == "done"
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["weights"].fletcher32
        assert dict(file.attrs)["epsilon"] == 5.0


def test_chunks_are_whole_rows_of_about_half_a_mebibyte(tmp_path):
    write_shard(tmp_path / "a.h5", Result({"w": np.zeros((5120, 2570), np.float32)}), FINGERPRINT, PROVENANCE)
    with h5py.File(tmp_path / "a.h5") as file:
        rows, columns = file["w"].chunks
        assert columns == 2570
        assert 0.25 * 2**20 <= rows * columns * 4 <= 2**20


def test_states(tmp_path):
    path = tmp_path / "a.h5"
    assert standing(path, FINGERPRINT).state == "missing"
    write(path)
    assert standing(path, "b" * 64).state == "stale"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert standing(path, FINGERPRINT).state == "damaged"
    path.write_bytes(b"not a shard")
    assert standing(path, FINGERPRINT).state == "damaged"
    with h5py.File(path, "w") as foreign:
        foreign["x"] = 1
    assert standing(path, FINGERPRINT).state == "damaged"


def test_a_shard_whose_files_were_deleted_is_missing(tmp_path):
    write(tmp_path / "a.h5", files={"index.html": b"<html>"})
    assert standing(tmp_path / "a.h5", FINGERPRINT).state == "done"
    (tmp_path / "index.html").unlink()
    assert standing(tmp_path / "a.h5", FINGERPRINT).state == "missing"


def test_a_flipped_byte_is_found_when_it_is_read(tmp_path):
    path = tmp_path / "a.h5"
    write(path, rows=4000)
    content = bytearray(path.read_bytes())
    place = bytes(content).find(np.float32(7001).tobytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Failure, match=r"a.h5: is damaged: its bytes are not those that were written; `python"):
        read_arrays(path)


def test_any_flipped_bit_of_a_small_shard_is_found(tmp_path):
    """In the data, in HDF5's own structure, in attributes, in the seal: one bit of every byte."""
    path = tmp_path / "a.h5"
    write(path, rows=2)
    sound, draw = path.read_bytes(), random.Random(0)
    assert verify_shard(path) > 0
    for place in range(0, len(sound), 7):
        flipped = bytearray(sound)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(Damaged):
            verify_shard(path)
    path.write_bytes(sound)
    assert verify_shard(path) > 0


def test_a_changed_file_beside_a_shard_is_found(tmp_path):
    write(tmp_path / "a.h5", files={"index.html": b"<html>"})
    (tmp_path / "index.html").write_bytes(b"<HTML>")
    with pytest.raises(Damaged, match=r"a.h5: is damaged: index.html beside it is not what was written"):
        verify_shard(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "circle"])
def test_what_is_no_file_is_damage_and_stops_nothing(kind, tmp_path):
    path = tmp_path / "a.h5"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    else:
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))
    found = standing(path, FINGERPRINT)
    assert (found.state, found.why) == ("damaged", "is not a regular file")
    set_aside(path, found.why)
    assert standing(path, FINGERPRINT).state == "missing"


def test_a_shard_that_cannot_be_read_now_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write(path)
    for number in (errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE):

        def refused(*_, number=number):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refused)
            with pytest.raises(Failure, match=r"a.h5: cannot be read now \(.*\); it is left as it is"):
                standing(path, FINGERPRINT)
    assert standing(path, FINGERPRINT).state == "done"


def test_numbers_that_lie_in_another_file_are_not_read(tmp_path):
    """A foreign file, sealed as ours are, with storage and links that point elsewhere."""
    (tmp_path / "secret").write_bytes(bytes(range(16)))
    write(tmp_path / "other.h5")
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.create_dataset("outside", (16,), np.uint8, external=[(str(tmp_path / "secret"), 0, 16)])
        file["linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "weights")
    content = image.getbuffer()
    facts = {"fingerprint": "f", "files": {}, "wall_seconds": 0.0, "device": "cpu", "imported": None}
    atomic_write(tmp_path / "a.h5", content, seal(content, facts))
    for name in ("outside", "linked"):
        with pytest.raises(Failure, match=rf"a.h5: lacks what a shard of its stage holds \(.*{name}"):
            read_arrays(tmp_path / "a.h5", name)


def test_a_temporary_follows_no_link(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    temporary = tmp_path / f".a.h5.{os.uname().nodename}.{os.getpid()}.0.tmp"
    temporary.symlink_to(tmp_path / "precious")
    write(tmp_path / "a.h5")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert standing(tmp_path / "a.h5", FINGERPRINT).state == "done"


def test_a_damaged_file_is_kept_aside(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"precious")
    aside = set_aside(path, "is no shard")
    assert aside.read_bytes() == b"precious"
    assert "a.h5: is no shard" in aside.with_name(f"{aside.name}.txt").read_text()
    assert not path.exists()


def test_a_kill_at_any_instant_leaves_the_old_state_or_the_new(tmp_path):
    path, marker = tmp_path / "a.h5", tmp_path / "started"
    script = (
        "import sys; from pathlib import Path; import numpy as np; from pipeline.store import *\n"
        "for value in range(10**6):\n"
        "    arrays = {'w': np.full((200, 2570), value, np.float32)}\n"
        f"    write_shard(Path({str(path)!r}), Result(arrays, {{'value': value}}), {FINGERPRINT!r}, {PROVENANCE!r})\n"
        f"    Path({str(marker)!r}).touch()\n"
    )
    chance = random.Random(0)
    for _ in range(8):
        marker.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
        while not marker.exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert standing(path, FINGERPRINT).state == "done"
        with h5py.File(path) as file:
            assert (file["w"][()] == file.attrs["value"]).all()
    remove_leftovers(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "started"]


def test_the_temporary_of_a_living_writer_is_left_alone(tmp_path):
    mine = tmp_path / f".a.h5.{os.uname().nodename}.{os.getpid()}.0.tmp"
    other = tmp_path / ".a.h5.elsewhere.1.0.tmp"
    for file in (mine, other):
        file.touch()
    assert remove_leftovers(tmp_path) == 0
    os.utime(other, (0, 0))
    assert remove_leftovers(tmp_path) == 1
    assert mine.exists()


def test_a_failed_write_leaves_the_old_shard_and_no_temporary(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(AttributeError):
        write_shard(tmp_path / "a.h5", Result({"w": np.array([object()])}), "b" * 64, PROVENANCE)
    assert standing(tmp_path / "a.h5", FINGERPRINT).state == "done"
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_disk_is_one_line_and_leaves_the_old_shard(tmp_path):
    """A limit on the size of files stands in for the disk: writing past it is refused by the kernel in the same way."""
    script = (
        "import resource, signal; from pathlib import Path; import numpy as np; from pipeline.store import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "try:\n"
        "    arrays = {'w': np.ones((4000, 2570), np.float32)}\n"
        f"    write_shard(Path({str(tmp_path / 'a.h5')!r}), Result(arrays), 'b', {PROVENANCE!r})\n"
        "except Failure as failure:\n"
        "    print(failure)\n"
    )
    write(tmp_path / "a.h5")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a.h5: cannot be written (File too large)" in done.stdout
    assert standing(tmp_path / "a.h5", FINGERPRINT).state == "done"
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_many_shards_are_one_table_and_need_few_descriptors(tmp_path):
    paths = {f"s{k}": tmp_path / f"s{k}.h5" for k in range(60)}
    for path in paths.values():
        write(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 10, hard))
        shards = Shards(paths)
        assert shards.lengths("weights").tolist() == [10] * 60
        assert shards.concatenated("weights")["weights"].shape == (600, 3)
        assert sum(len(block) for block in shards.blocks("weights")) == 600
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_missing_shard_is_named_with_the_cure(tmp_path):
    with pytest.raises(Failure, match=r"gone.h5: is missing; `python -m jobs run` makes"):
        Shards({"gone": tmp_path / "gone.h5"}).read("gone")
