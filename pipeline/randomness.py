"""Every random number of the project comes from a generator made here, seeded by what it is for."""

import numpy as np
import torch

from pipeline.fingerprint import fingerprint


def seed_for(*purpose: str | int) -> int:
    """A 63-bit seed for a purpose such as (experiment seed, stage, shard, epoch); equal purposes give equal seeds."""
    return int(fingerprint(purpose)[:16], 16) >> 1


def torch_generator(*purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed_for(*purpose))


def numpy_generator(*purpose: str | int) -> np.random.Generator:
    return np.random.default_rng(seed_for(*purpose))
