"""Resident memory while the reconstructor reads 200 shards of 5,120 MNIST models: 10.5 GB of weights, a million models.

    python -m benchmarks.reconstructor_memory [--shards 200]

One epoch, every model once, through the shuffling and the background reading that training uses, with a training step
on every 25th batch. Eight files stand for all the shards, under as many names.

Measured, torch 2.15: 2.13 GB at the most, 253 s on one core with other work beside it.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.reconstruction.batches import ShadowBatches
from pipeline.reconstruction.losses import reconstruction_loss
from pipeline.reconstruction.sources import ShardSource
from pipeline.statistics import Standardisation
from pipeline.store import Result, Shards, write_shard

FILES, MODELS, PARAMETERS, BATCH = 8, 5_120, 2_570, 256
LABELS = np.arange(10, dtype=np.int32)


def write(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    arrays = {
        "weights": rng.normal(size=(MODELS, PARAMETERS)).astype(np.float32),
        "indices": rng.integers(0, 60_000, (MODELS, 10), dtype=np.int32),
        "labels": np.tile(LABELS, (MODELS, 1)),
    }
    write_shard(path, Result(arrays), "benchmark", {})
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=200)
    shards = parser.parse_args().shards
    torch.set_num_threads(1)
    network = Reconstructor(PARAMETERS, 1, 32, 16)
    initialise(network, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    standardise = Standardisation(
        torch.ones(PARAMETERS, dtype=torch.bool), torch.zeros(PARAMETERS), torch.ones(PARAMETERS)
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        files = [write(Path(folder) / f"{number}.h5", number) for number in range(FILES)]
        paths = {f"train-{number:05d}": files[number % FILES] for number in range(shards)}
        source = ShardSource(Shards(paths), LABELS, ("order",))
        batches = ShadowBatches(source, BATCH, ("batches",), torch.device("cpu")).from_step(0)
        started, steps = time.monotonic(), shards * MODELS // BATCH
        for step in range(steps):
            weights, _ = next(batches)
            z = standardise.apply(weights)
            if step % 25 == 0:
                loss = reconstruction_loss(network(z), torch.zeros(BATCH, 1, 1, 32, 32), 100.0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    gigabytes = shards * MODELS * PARAMETERS * 4 / 1e9
    print(f"{shards} shards, {gigabytes:.1f} GB of weights, {steps:,} batches in {seconds:.0f} s: peak {peak:.2f} GB")


if __name__ == "__main__":
    main()
