"""Does the lock hold under processes that die with it? Many take it at once, and a share of them dies holding it.

    python -m benchmarks.locks --acquisitions 10000 --processes 8

Every holder writes when it enters and when it leaves or dies, in one file that is only appended to: two that were
inside at once would follow one another there. Prints what was counted; exit code 1 for an overlap or anything left.
"""

import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

from pipeline.lock import lock

PATIENCE_SECONDS = 600.0


@click.command(help=__doc__.splitlines()[0])
@click.option("--acquisitions", default=10_000, show_default=True)
@click.option("--processes", default=8, show_default=True)
@click.option("--dying", default=1 / 3, show_default="a third", help="Share of the holders that die.")
def main(acquisitions: int, processes: int, dying: float) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory, journal = Path(name) / "run", Path(name) / "journal"
        directory.mkdir()
        turns = [len(range(first, acquisitions, processes)) for first in range(processes)]
        for child in [_forked(_takes_turns, directory, journal, seed, turns[seed], dying) for seed in range(processes)]:
            os.waitpid(child, 0)
        with lock(directory, "the last one", lambda text: None):  # breaks the lock of the last that died
            pass
        events = [line.split() for line in journal.read_text().splitlines()]
        left = [path.name for path in directory.iterdir()]
    counts = Counter(event for event, _ in events)
    alternating = all(
        before[0] == "enters" and after[0] != "enters" and before[1] == after[1]
        for before, after in zip(events[::2], events[1::2], strict=True)
    )
    print(f"{counts['enters']} acquisitions by {processes} processes, {counts['dies']} died holding the lock")
    print(f"overlaps: {'none' if alternating else 'SOME'}; left behind: {', '.join(left) or 'nothing'}")
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(not (alternating and not left and counts["enters"] == acquisitions))


def _forked(work, *given) -> int:
    """The id of a process of its own that does `work`."""
    child = os.fork()
    if child == 0:
        try:
            work(*given)
        finally:
            os._exit(0)
    return child


def _takes_turns(directory: Path, journal: Path, seed: int, turns: int, dying: float) -> None:
    """A holder that dies is a process, so every turn is one."""
    draw = random.Random(seed)
    for turn in range(turns):
        os.waitpid(_forked(_takes_it, directory, journal, f"{seed}.{turn}", draw.random() < dying), 0)


def _takes_it(directory: Path, journal: Path, name: str, dies: bool) -> None:
    with lock(directory, "turn", lambda text: None, PATIENCE_SECONDS):
        _append(journal, f"enters {name}")
        if dies:
            _append(journal, f"dies {name}")
            os.kill(os.getpid(), signal.SIGKILL)
        _append(journal, f"leaves {name}")


def _append(journal: Path, line: str) -> None:
    with journal.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


if __name__ == "__main__":
    main()
