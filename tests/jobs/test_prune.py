"""Prune removes shards of other settings and what was set aside; nothing that a grid reads, and no foreign file."""

import pytest

from jobs.__main__ import jobs
from pipeline.config import load_all
from stages import stage_named
from stages.plan import Plan

QUICK = "kkt.attack.iterations=20"


def command(directory, config, verb, *more):
    sets = [part for override in (f"paths.runs={directory}", QUICK) for part in ("--set", override)]
    jobs([verb, str(config), *more, *sets], standalone_mode=False)


def files(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path):
    command(tmp_path / "runs", "kkt_red_blue", "run", "--executor", "inline")
    return tmp_path / "runs"


def test_other_settings_and_damaged_files_go_and_the_rest_stays(run, capsys):
    whole = files(run)
    shard = run / "kkt_red_blue" / "kkt_attack" / "trials-00000.h5"
    (run / "kkt_red_blue" / "notes.h5").write_bytes(b"a file of the user's")
    shard.with_name("trials-00000-0123456789.checkpoint").write_bytes(b"of other settings")
    shard.with_name("trials-00000.h5.damaged-0").write_bytes(b"damaged")
    shard.with_name("trials-00000.h5.damaged-0.txt").write_text("why")
    other = shard.with_name("trials-00007.h5")
    other.write_bytes(shard.read_bytes())
    before = files(run)
    command(run, "kkt_red_blue", "prune", "--dry-run")
    assert "4 files" in capsys.readouterr().out
    assert files(run) == before
    command(run, "kkt_red_blue", "prune")
    assert files(run) == whole | {"kkt_red_blue/notes.h5"}
    command(run, "kkt_red_blue", "status")
    assert "all done" in capsys.readouterr().out


def test_what_another_point_of_a_grid_reads_stays(tmp_path, capsys):
    config, runs = tmp_path / "grid.yml", tmp_path / "runs"
    config.write_text("extends: kkt_red_blue\ngrid: {seed: [1, 2]}\n")
    command(runs, config, "run", "--executor", "inline")
    before = files(runs)
    command(runs, config, "prune")
    assert "nothing to remove" in capsys.readouterr().out
    config.write_text("extends: kkt_red_blue\ngrid: {seed: [1]}\n")
    command(runs, config, "prune")
    (plan,) = (Plan(one) for one in load_all(config, [f"paths.runs={runs}", QUICK]))
    victims = {path for path in files(runs) if "/kkt_victim/" in path and path.endswith(".h5")}
    assert victims == {str(plan.path(stage_named("kkt_victim"), "victim").relative_to(runs))}
    assert files(runs) < before
