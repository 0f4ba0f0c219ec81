"""The whole tree of a run under Dask is killed at random moments."""

import subprocess
import sys

from pipeline import ROOT


def test_a_run_whose_tree_is_killed_ends_with_the_same_bytes_and_nothing_left_behind():
    """`python -m benchmarks.kills` does it twenty times."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", "--kills", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results: bit-identical; left behind: nothing" in done.stdout
