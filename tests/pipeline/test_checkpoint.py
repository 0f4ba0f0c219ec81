"""Checkpoints: kept only when due, believed only under their fingerprint."""

import os
import signal

import pytest
import torch

from pipeline import interruption
from pipeline.checkpoint import Checkpoint

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


def test_another_fingerprint_or_a_broken_file_counts_as_none(tmp_path):
    Checkpoint(tmp_path / "c", "a", period=0).offer(lambda: {"step": 3})
    assert Checkpoint(tmp_path / "c", "b").load(CPU) is None
    (tmp_path / "c").write_bytes(b"junk")
    assert Checkpoint(tmp_path / "c", "a").load(CPU) is None
    Checkpoint(tmp_path / "c", "a").remove()
    assert not (tmp_path / "c").exists()


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
