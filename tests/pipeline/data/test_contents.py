"""The digest of a data set: of every byte that is read, read again only when something may have changed."""

import os
import time

import pytest

from pipeline.data import contents
from pipeline.data.contents import EVERYTHING, content_of
from pipeline.data.settings import DataSet


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content_of.cache_clear()


def digest(folder, *patterns):
    content_of.cache_clear()  # as another process would
    return content_of(folder, patterns or (EVERYTHING,))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for name in ("a/1.bmp", "b/1.bmp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(f"picture of {name}".encode())
        os.utime(root / name, (1e9, 1e9))
    return root


def test_two_classes_of_equal_sized_files_that_change_names_are_another_content(folder):
    before = digest(folder)
    assert digest(folder) == before
    (folder / "a").rename(folder / "t")
    (folder / "b").rename(folder / "a")
    (folder / "t").rename(folder / "b")
    assert digest(folder) != before


def test_where_it_lies_and_when_it_was_copied_are_no_part_of_it(folder, tmp_path):
    before = digest(folder)
    folder.rename(tmp_path / "moved")
    os.utime(tmp_path / "moved" / "a" / "1.bmp")
    assert digest(tmp_path / "moved") == before


def test_bytes_are_read_once_and_again_when_a_time_changes(folder, monkeypatch):
    monkeypatch.setattr(contents, "SETTLED_SECONDS", -60.0)
    before = digest(folder)

    def unread(*_):
        raise AssertionError("read again")

    with monkeypatch.context() as patched:
        patched.setattr(contents.hashlib, "file_digest", unread)
        assert digest(folder) == before
        os.utime(folder / "a" / "1.bmp", (1.1e9, 1.1e9))
        with pytest.raises(AssertionError, match="read again"):
            digest(folder)
    assert digest(folder) == before


def test_what_changed_a_moment_ago_is_not_kept(folder, tmp_path):
    (folder / "a" / "1.bmp").write_bytes(b"picture of a/1.bm1")
    before = digest(folder)
    assert time.time() - (folder / "a" / "1.bmp").stat().st_mtime < contents.SETTLED_SECONDS
    assert not (tmp_path / "cache").exists()
    (folder / "a" / "1.bmp").write_bytes(b"picture of a/1.bm2")
    assert digest(folder) != before


def test_linked_classes_are_read_as_torchvision_reads_them(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.bmp").write_bytes(b"one")
    (folder / "c").symlink_to(outside)
    before = digest(folder)
    (outside / "1.bmp").write_bytes(b"two")
    assert digest(folder) != before


def test_named_sets_are_known_by_their_files(tmp_path):
    data = DataSet(name="cifar100_part")
    assert data.identity(tmp_path)["content"] == "absent"
    (tmp_path / "cifar100_part.npz").write_bytes(b"one")
    content_of.cache_clear()
    one = data.identity(tmp_path)["content"]
    (tmp_path / "cifar100_part.npz").write_bytes(b"two")
    content_of.cache_clear()
    assert len({"absent", one, data.identity(tmp_path)["content"]}) == 3
