"""Images and gradients for the tests of gradient inversion."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.step import gradients_of_steps
from pipeline.randomness import torch_generator


@pytest.fixture(autouse=True)
def _always_one_thread(one_thread):
    """Of every test here."""


@pytest.fixture(scope="session")
def synthetic():
    """`synthetic(count, shape)`: smooth random images in [0, 1], (count, C, H, W) float64, and labels 0 … 9."""

    def make(count, shape=(3, 32, 32), classes=10):
        generator = torch_generator("synthetic images", *shape)
        coarse = torch.rand(count, shape[0], 6, 6, generator=generator, dtype=torch.float64)
        images = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bicubic").clamp(0, 1)
        return images, torch.randint(classes, (count,), generator=generator)

    return make


@pytest.fixture(scope="session")
def cifar10():
    """The first 20 training images of CIFAR-10 in [0, 1], float64, and their labels."""
    path = Path(os.environ.get("RECON_DATA", ""), "cifar-10-batches-py", "data_batch_1")
    if not path.is_file():
        pytest.skip("CIFAR-10 is not under RECON_DATA")
    batch = pickle.loads(path.read_bytes(), encoding="bytes")
    images = torch.from_numpy(np.asarray(batch[b"data"][:20])).view(-1, 3, 32, 32).double() / 255
    return images, torch.tensor(batch[b"labels"][:20])


@pytest.fixture(scope="session")
def exposed():
    """`exposed(name, images, labels, …)`: a network of the study read as a chain, and each image's own gradient."""

    def make(name, images, labels, seed=0, classes=10, **options):
        shape = tuple(images.shape[1:])
        module = build(name, shape, classes, torch_generator("network", seed), **options)
        return read_network(module, shape), gradients_of_steps(module, images[:, None], labels[:, None])

    return make
