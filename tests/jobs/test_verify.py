"""Damage is found by reading everything, set aside with its reason, and made again; nothing else is touched."""

import os

import numpy as np
import pytest
from scipy.special import expit

from jobs.__main__ import jobs
from pipeline.config import load
from pipeline.errors import Failure, UserError
from pipeline.store import read_arrays, read_attributes
from stages import stage_named
from stages.plan import Plan

SMALL = ("kkt.attack.iterations=20",)


@pytest.fixture
def small(tmp_path):
    """A finished experiment of a second; runs commands on it."""

    def command(verb, *more, overrides=SMALL):
        sets = [part for override in (f"paths.runs={tmp_path}", *overrides) for part in ("--set", override)]
        jobs([verb, "kkt_red_blue", *more, *sets], standalone_mode=False)
        return Plan(load("kkt_red_blue", [f"paths.runs={tmp_path}", *overrides]))

    command("run", "--executor", "inline")
    return command


def flip(path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


def everything(plan):
    stages = [stage for stage in plan.stages if stage.name != "report"]
    return {
        f"{stage.name}/{shard}/{name}": array.tobytes()
        for stage in stages
        for shard in stage.shards(plan.experiment)
        for name, array in read_arrays(plan.path(stage, shard)).items()
    }


def test_a_flipped_bit_of_an_input_is_set_aside_by_whoever_reads_it_and_made_again(small):
    plan = Plan(small("verify").experiment)
    before, victim = everything(plan), plan.path(stage_named("kkt_victim"), "victim")
    flip(victim, victim.stat().st_size // 2)
    plan.path(stage_named("kkt_attack"), "trials-00000").unlink()
    with pytest.raises(Failure, match=r"victim.h5: is damaged.*it was set aside as victim.h5.damaged-0"):
        small("resume", "--executor", "inline")
    assert not victim.exists()
    small("resume", "--executor", "inline")
    assert everything(plan) == before
    assert "its bytes are not those that were written" in victim.with_name("victim.h5.damaged-0.txt").read_text()


def test_verify_finds_what_the_state_of_a_shard_cannot_show(small, capsys):
    plan = small("verify")
    assert "0 were damaged" in capsys.readouterr().out
    before = everything(plan)
    page = plan.path(stage_named("report"), "report").with_name("index.html")
    analysis = plan.path(stage_named("kkt_analysis"), "analysis")
    flip(page, 100)
    flip(analysis, 4000)
    small("run", "--executor", "inline")
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(Failure, match="2 damaged files were set aside"):
        small("verify")
    said = capsys.readouterr().out
    assert f"{analysis}: is damaged: its bytes are not those that were written; set aside as" in said
    assert "index.html beside it is not what was written" in said
    small("run", "--executor", "inline")
    small("verify")
    assert everything(plan) == before


def test_a_file_that_cannot_be_read_now_is_left_alone(small, monkeypatch):
    plan = small("status")
    victim = plan.path(stage_named("kkt_victim"), "victim")
    opened = os.open

    def refuse(path, *more, **how):
        if str(path) == str(victim):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **how)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(Failure, match=r"victim.h5: cannot be read now \(Permission denied\); it is left as it is"):
            small("run", "--executor", "inline")
    assert victim.exists()


def test_another_import_makes_what_was_made_of_it_stale(tiny, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("h0", "h1", "better"):
        np.save(tmp_path / f"{name}.npy", 4 * expit(rng.normal({"h0": -1, "h1": 0, "better": -3}[name], 1, (40, 10))))
    scored = tiny("imported=[min_mse]", "evaluation.nulls=[correlation]", "evaluation.threshold=0.0696")

    def command(verb, *more):
        sets = [part for override in scored.overrides for part in ("--set", override)]
        jobs([verb, "demo", *more, *sets], standalone_mode=False)
        return Plan(scored)

    files = f"h1={tmp_path}/h1.npy"
    command("import", "min_mse", f"h0={tmp_path}/h0.npy", files)
    plan = command("run", "--executor", "inline")
    first = read_attributes(plan.path(stage_named("roc"), "conditional"))["fingerprint"]
    command("import", "min_mse", f"h0={tmp_path}/h0.npy", files, "--replace")
    assert all(
        found.state == "done" for stage in Plan(scored).stages for found in Plan(scored).standings(stage).values()
    )
    plan = command("import", "min_mse", f"h0={tmp_path}/better.npy", files, "--replace")
    assert plan.standings(stage_named("roc"))["conditional"].state == "stale"
    plan = command("run", "--executor", "inline")
    assert read_attributes(plan.path(stage_named("roc"), "conditional"))["fingerprint"] != first
    other = [*scored.overrides, "evaluation.nulls=[other_victims]"]
    sets = [part for override in other for part in ("--set", override)]
    with pytest.raises(UserError, match=r"imported/min_mse/conditional.h5: was imported for other settings"):
        jobs(["run", "demo", "--executor", "inline", *sets], standalone_mode=False)
