"""Commands typed in the tests' own process, which spares a start of several seconds each."""

import contextlib
import runpy
import signal
import sys
import warnings
from collections.abc import Iterator
from unittest import mock

SECONDS = 60
"""After this a command counts as stuck. Those typed here take seconds at most; the rest is for a busy machine."""


class Stuck(Exception):
    pass


def run(words: list[str]) -> int:
    """`python -m WORDS` in this process; returns its exit code, and raises whatever the command let through."""
    module, *arguments = words
    with mock.patch.object(sys, "argv", [module, *arguments]), _bounded(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=False)
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Stuck(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
