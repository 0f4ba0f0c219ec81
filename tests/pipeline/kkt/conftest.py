"""Small victims and candidates for the tests of KKT attacks."""

import pytest
import torch

from pipeline.kkt.networks import Victim, initialise
from pipeline.kkt.settings import NetworkSettings


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def victim():
    """`victim(hidden, outputs, …)`: a float64 network for images (2, 3, 4), its first layer not small."""

    def make(hidden=(7, 5), outputs=1, activation="relu", shape=(2, 3, 4), convolutions=()):
        settings = NetworkSettings(hidden=hidden, activation=activation, init_std=0.4, convolutions=convolutions)
        network = Victim(settings, shape, outputs).double()
        initialise(network, torch.Generator().manual_seed(0))
        return network

    return make
