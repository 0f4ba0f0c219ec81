"""Checkpoints: kept only when due, believed only under their fingerprint."""

import os
import signal

import pytest
import torch

from pipeline import checkpoint, interruption
from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure

CPU = torch.device("cpu")


def test_a_state_is_asked_for_only_when_the_period_has_passed(tmp_path):
    patient = Checkpoint(tmp_path / "c", "a", period=3600)
    patient.offer(lambda: 1 / 0)
    assert patient.load(CPU) is None
    eager = Checkpoint(tmp_path / "c", "a", period=0)
    eager.offer(lambda: {"step": 3, "weights": torch.arange(4)})
    state = Checkpoint(tmp_path / "c", "a").load(CPU)
    assert state["step"] == 3
    assert state["weights"].tolist() == [0, 1, 2, 3]


def test_a_checkpoint_of_other_settings_is_neither_read_nor_written_over(tmp_path):
    Checkpoint(tmp_path / "c", "a", period=0).offer(lambda: {"step": 3})
    with pytest.raises(Failure, match="c: is the checkpoint of other settings"):
        Checkpoint(tmp_path / "c", "b").load(CPU)
    assert Checkpoint(tmp_path / "c", "a").load(CPU) == {"step": 3}


def test_one_flipped_bit_is_found_and_the_file_kept_aside(tmp_path, caplog):
    Checkpoint(tmp_path / "c", "a", period=0).offer(lambda: {"weights": torch.arange(4)})
    content = bytearray((tmp_path / "c").read_bytes())
    content[bytes(content).find(torch.arange(4).numpy().tobytes()) + 9] ^= 4
    (tmp_path / "c").write_bytes(content)
    assert Checkpoint(tmp_path / "c", "a").load(CPU) is None
    assert "set aside, and its shard starts over" in caplog.text
    assert (tmp_path / "c.damaged-0").read_bytes() == content
    assert not (tmp_path / "c").exists()


def test_a_state_that_cannot_be_saved_ends_nothing(tmp_path, caplog, monkeypatch):
    eager = Checkpoint(tmp_path / "c", "a", period=0)
    eager.offer(lambda: {"step": 3})

    def full(*_):
        raise Failure("c: cannot be written (No space left on device)")

    monkeypatch.setattr(checkpoint, "atomic_write", full)
    eager.offer(lambda: {"step": 4})
    assert "no checkpoint: c: cannot be written (No space left on device)" in caplog.text
    assert Checkpoint(tmp_path / "c", "a").load(CPU) == {"step": 3}


def test_want_of_memory_does_not_start_over(tmp_path, monkeypatch):
    Checkpoint(tmp_path / "c", "a", period=0).offer(lambda: {"step": 3})

    def too_little(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", too_little)
    with pytest.raises(MemoryError):
        Checkpoint(tmp_path / "c", "a").load(CPU)


def test_asked_to_stop_it_saves_at_once_and_interrupts(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "_asked_by", [])
    before = signal.getsignal(signal.SIGTERM)
    interruption.listen(signal.SIGTERM)
    try:
        patient = Checkpoint(tmp_path / "c", "a", period=3600)
        patient.offer(lambda: {"step": 3})
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(interruption.Interrupted, match="SIGTERM: its state is in c"):
            patient.offer(lambda: {"step": 4})
    finally:
        signal.signal(signal.SIGTERM, before)
    assert Checkpoint(tmp_path / "c", "a").load(CPU)["step"] == 4
