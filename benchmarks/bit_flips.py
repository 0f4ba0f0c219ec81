"""Is a file of which one bit was flipped ever read as other data?

    python -m benchmarks.bit_flips --flips 4000

Single bits of a finished run's files are flipped, one at a time, anywhere in the file; each file is then read as stages
and commands read it. It must be refused, in words, every time: 0 read as other data, 0 crashes of the process. Then one
bit of every file at once is flipped, `python -m jobs verify` sets the files aside and `python -m jobs run` makes them
again: the results must be those of the undisturbed run.
"""

import multiprocessing
import random
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click

from benchmarks.trial import Trial
from pipeline.errors import Damaged
from pipeline.store import read_arrays, read_attributes, shard_facts, verify_shard

Contents = tuple[dict, dict, dict]


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def contents(path: Path) -> Contents:
    """All that readers take from a shard: facts, attributes and data sets."""
    arrays = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in read_arrays(path).items()}
    return dict(shard_facts(path)), {name: str(value) for name, value in read_attributes(path).items()}, arrays


def outcome(shard: Path, file: Path, bit: int, sound: Contents) -> str:
    """How a shard is read of which `file` (itself, or one that lies beside it) has one bit flipped."""
    flip(file, bit)
    try:
        verify_shard(shard)
        return "read as it was" if contents(shard) == sound else "READ AS OTHER DATA"
    except Damaged:
        return "refused"
    except Exception as error:
        return f"FAILED with {type(error).__name__}"
    finally:
        flip(file, bit)


def in_a_child(shard: Path, file: Path, bits: list[int]) -> Counter[str]:
    """Outcomes, and how many were lost to a crash of the process that reads."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as child:
        try:
            return child.submit(outcomes, shard, file, bits).result()
        except BrokenProcessPool:
            return Counter({"CRASHED": len(bits)})


def outcomes(shard: Path, file: Path, bits: list[int]) -> Counter[str]:
    sound = contents(shard)
    return Counter(outcome(shard, file, bit, sound) for bit in bits)


def files_of(trial: Trial) -> list[tuple[Path, Path]]:
    """(shard, file) of every shard and of what lies beside it, inputs to other stages first."""
    plan = trial.plan
    shards = [plan.path(stage, shard) for stage in plan.stages for shard in stage.shards(trial.experiment)]
    return [
        (shard, file) for shard in shards for file in (shard, *(shard.parent / n for n in shard_facts(shard)["files"]))
    ]


@click.command(help=__doc__.splitlines()[0])
@click.option("--flips", default=4000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(flips: int, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(Path(name))
        trial.done("run", "--executor", "inline")
        before, files = trial.results(), files_of(trial)
        found: Counter[str] = Counter()
        for number, (shard, file) in enumerate(files):
            share = flips // len(files) + (number < flips % len(files))
            found += in_a_child(shard, file, [draw.randrange(8 * file.stat().st_size) for _ in range(share)])
        print(
            f"{found.total()} flips over {len(files)} files: " + ", ".join(f"{n} {what}" for what, n in found.items())
        )
        for _, file in files:
            flip(file, draw.randrange(8 * file.stat().st_size))
        trial.done("verify", code=1)
        aside = sum(".damaged-" in left and not left.endswith(".txt") for left in trial.left_behind())
        trial.done("run", "--executor", "inline")
        same = trial.results() == before
    shards = len({shard for shard, _ in files})
    print(f"one bit of every file: {aside} of {shards} shards set aside")
    print(f"results after `run`: {'the undisturbed ones' if same else 'OTHERS'}")
    raise SystemExit(not same or set(found) != {"refused"} or aside < shards)


if __name__ == "__main__":
    main()
