"""Small victims and candidates for the tests of KKT attacks."""

import contextlib

import pytest
import torch

from pipeline.checkpoint import Checkpoint
from pipeline.kkt.networks import Victim, initialise
from pipeline.kkt.settings import NetworkSettings


@pytest.fixture(autouse=True)
def _always_one_thread(one_thread):
    """Of every test here."""


@pytest.fixture
def victim():
    """`victim(hidden, outputs, …)`: a float64 network for images (2, 3, 4), its first layer not small."""

    def make(hidden=(7, 5), outputs=1, activation="relu", shape=(2, 3, 4), convolutions=()):
        settings = NetworkSettings(hidden=hidden, activation=activation, init_std=0.4, convolutions=convolutions)
        network = Victim(settings, shape, outputs).double()
        initialise(network, torch.Generator().manual_seed(0))
        return network

    return make


class _Killed(Exception):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """`with killed_at("step", 23): …`: the work dies there as soon as it has saved a state that says step 23."""

    @contextlib.contextmanager
    def dying(name, reached):
        save = Checkpoint.offer

        def save_and_die(self, state):
            save(self, state)
            if state()[name] == reached:
                raise _Killed

        with monkeypatch.context() as patch, pytest.raises(_Killed):
            patch.setattr(Checkpoint, "offer", save_and_die)
            yield

    return dying
