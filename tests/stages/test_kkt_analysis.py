"""From a victim on embedded digits to the verdict on its candidates, and its chapter of the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.importing import import_shard
from pipeline.config import load
from pipeline.errors import UserError
from pipeline.kkt.report import drawings
from pipeline.kkt.report.figures import sheet
from pipeline.kkt.report.findings import findings
from pipeline.store import Result, read_arrays, read_attributes, write_shard
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan

SMALL = """
name: small
data: {name: mnist_digits, size: 28}
kkt:
  problem: {labels: odd_even, kind: binary, images_per_class: 4}
  victim: {network: {hidden: [100, 100]}, decrease: 0.1, dtype: float32}
  attack: {candidates: 16, iterations: 400, stack: 2}
  search: {trials: 3, ranges: {relu_sharpness: {uniform: [20, 80]}}}
"""
TOY = """
name: toy
kkt:
  problem: {labels: grid_chess, images_per_class: 2}
  victim: {network: {hidden: [40, 40]}, decrease: 0.2, dtype: float32}
  attack: {candidates: 8, iterations: 20}
"""


def plan_of(text: str, directory: Path, *overrides: str) -> Plan:
    (directory / "experiment.yml").write_text(text)
    return Plan(load(directory / "experiment.yml", [f"paths.runs={directory}/runs", *overrides]))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Plan:
    """Made once: three trials on a victim of eight digits, to the report."""
    plan = plan_of(SMALL, tmp_path_factory.mktemp("small"))
    make_all(plan)
    return plan


def analysis(plan: Plan) -> dict[str, np.ndarray]:
    return read_arrays(plan.path(stage_named("kkt_analysis"), "analysis"))


def make_all(plan: Plan) -> None:
    for stage in plan.stages:
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)


def test_candidates_are_judged_beside_nulls(small):
    found, facts = analysis(small), read_attributes(small.path(stage_named("kkt_analysis"), "analysis"))
    sizes = {"attack": 48, "mean_image": 1, "noise": 48, "held_out": 48, "first_layer": 100}
    assert json.loads(facts["pool_sizes"]) == sizes
    assert found["attack/identified"].sum() > found["attack/stand_in_identified"].sum() + 2
    assert all(found[f"{null}/identified"].sum() <= 2 for null in ("mean_image", "noise", "held_out"))
    assert found["oracle"][:, 0].tolist() == sorted(
        np.unique(found["trials/hyperparameters/relu_sharpness"])[[0, -1]].tolist()
    )


def test_the_report_says_who_is_identified_and_holds_the_nulls(small):
    report = small.experiment.run_directory / "report"
    assert (
        "training images identified among 49 unlearnt ones of their class each" in (report / "index.html").read_text()
    )
    assert (report / "kkt_hits.csv").read_text().splitlines()[-1].startswith("attack − best null")
    assert len((report / "kkt_scores.csv").read_text().splitlines()) == 9
    drawn = (report / "kkt_trials.csv").read_text().splitlines()[0]
    assert "relu sharpness" in drawn
    assert "learning" not in drawn


def test_the_first_layers_weights_are_matched_as_published(small):
    """By a plain loop: full-scale ncc, each weight for its nearest image only, the mean of near-ties (1.1)."""
    found = analysis(small)
    weights = read_arrays(small.path(stage_named("kkt_victim"), "victim"))["state/layers.0.weight"].astype(np.float64)
    images = found["original"].reshape(8, -1).astype(np.float64)
    centred = images - images.mean(0)

    def unit(rows):
        return (rows - rows.mean(1, keepdims=True)) / rows.std(1, ddof=1, keepdims=True)

    table = ((unit(centred)[:, None] - unit(weights)[None]) ** 2).mean(2)
    owner = table.argmin(0)
    for place in range(8):
        own = np.flatnonzero(owner == place)
        if not len(own):
            assert found["first_layer/candidate"][place] == -1
            assert np.isnan(found["first_layer/correlation"][place])
            continue
        nearest = own[table[place, own].argmin()]
        assert found["first_layer/candidate"][place] == nearest
        voted = weights[own[table[place, own] <= 1.1 * table[place, nearest]]].mean(0)
        expected = (voted - voted.min()) / (voted.max() - voted.min())
        assert np.allclose(found["first_layer/rebuilt"][place].ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("sort_by", ["ncc", "l2", "psnr"])
def test_pictures_are_sorted_by_the_score_asked_for(small, sort_by, monkeypatch):
    drawn, draw = [], drawings.strips
    monkeypatch.setattr(drawings, "strips", lambda rows: drawn.extend(rows) or draw(rows))
    found = findings(small.shards_of("kkt_victim"), small.shards_of("kkt_analysis"))
    sheet(found, 3, sort_by)
    order = np.argsort(found.arrays[f"attack/{sort_by}"])[:: -1 if sort_by == "psnr" else 1]
    assert drawn[2].words == [f"{found.arrays[f'attack/{sort_by}'][place]:.2f}" for place in order[-3:]]


def test_the_same_analysis_twice_gives_the_same_numbers(small):
    first = analysis(small)
    small.path(stage_named("kkt_analysis"), "analysis").unlink()
    make_shard(small, stage_named("kkt_analysis"), "analysis", "cpu", lambda *_: None)
    again = analysis(small)
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)


def test_trials_that_are_not_chosen_are_not_judged(small):
    chosen = Plan(
        load(small.experiment.source, [*small.experiment.overrides, "kkt.analysis.trials={by: loss, keep: 1}"])
    )
    make_all(chosen)
    found, facts = analysis(chosen), read_attributes(chosen.path(stage_named("kkt_analysis"), "analysis"))
    assert json.loads(facts["trials_judged"]) == [int(found["trials/loss"].argmin())]
    assert json.loads(facts["pool_sizes"])["attack"] == 16
    assert len(found["trials/hits"]) == 3


def test_a_toy_of_the_plane_is_judged_by_distance_and_drawn(tmp_path):
    toy = plan_of(TOY, tmp_path)
    make_all(toy)
    found = analysis(toy)
    assert np.isnan(found["attack/ssim"]).all()
    assert found["plane"].shape == (160, 160)
    page = (toy.experiment.run_directory / "report" / "index.html").read_text()
    assert "class 0 met within" in page
    assert "identified" not in page


def test_an_attack_without_multipliers_has_no_oracle(tmp_path):
    naive = plan_of(SMALL, tmp_path, "kkt.attack.loss=naive", "kkt.search.trials=1", "kkt.attack.stack=1")
    make_all(naive)
    found = analysis(naive)
    assert "oracle" not in found
    assert "picks/multiplier/score" not in found
    assert not (naive.experiment.run_directory / "report" / "kkt_losses.csv").exists()


def test_published_files_of_a_victim_and_its_reconstructions_are_judged_as_if_made_here(tmp_path):
    """The victim's file in its wrapper, x.pth and l.pth as the published programs save them, through `jobs import`."""
    (tmp_path / "made").mkdir()
    one = plan_of(SMALL, tmp_path / "made", "kkt.search.trials=1")
    make_all(one)
    victim = read_arrays(one.path(stage_named("kkt_victim"), "victim"))
    state = {name[6:]: torch.as_tensor(array) for name, array in victim.items() if name.startswith("state/")}
    torch.save({"batch": None, "epoch": 9, "state_dict": state}, tmp_path / "weights-9.pth")
    made = read_arrays(one.path(stage_named("kkt_attack"), "trials-00000"))
    torch.save(torch.as_tensor(made["candidates"][0]).double().requires_grad_(), tmp_path / "x.pth")
    torch.save(torch.as_tensor(made["multipliers"][0])[:, None].requires_grad_(), tmp_path / "l.pth")
    torch.save(torch.zeros(16, 1, 4, 4), tmp_path / "small.pth")

    given = ("kkt.search.trials=1", f"kkt.victim.weights={tmp_path}/weights-9.pth", "imported=[kkt_attack]")
    other = plan_of(SMALL, tmp_path, *given)
    with pytest.raises(UserError, match=r"candidates: has the shape \(16, 1, 4, 4\); expected \(1, 16, 1, 28, 28\)"):
        import_shard(other, "kkt_attack", [f"{tmp_path}/small.pth"], False)
    import_shard(other, "kkt_attack", [f"{tmp_path}/x.pth", f"multipliers={tmp_path}/l.pth"], False)
    other = Plan(other.experiment)
    for name in ("kkt_victim", "kkt_analysis", "report"):
        for shard in stage_named(name).shards(other.experiment):
            make_shard(other, stage_named(name), shard, "cpu", lambda *_: None)
    found, expected = analysis(other), analysis(one)
    unknown = {f"trials/{name}" for name in ("loss", "stationarity", "range", "multipliers")}
    assert expected.keys() - found.keys() <= unknown
    for name in found.keys() - unknown:
        assert np.array_equal(found[name], expected[name], equal_nan=True), name
    assert np.isnan(found["trials/loss"]).all()
    page = (other.experiment.run_directory / "report" / "index.html").read_text()
    assert "kkt_attack was not made here but imported from x.pth (sha256 " in page

    import_shard(other, "kkt_attack", [f"{tmp_path}/x.pth"], True)  # the multipliers are not published everywhere
    other = Plan(other.experiment)
    assert other.standings(stage_named("kkt_analysis"))["analysis"].state == "stale"
    make_shard(other, stage_named("kkt_analysis"), "analysis", "cpu", lambda *_: None)
    assert "picks/multiplier/score" not in analysis(other)
    assert np.array_equal(analysis(other)["attack/identified"], expected["attack/identified"])


def test_more_decoys_than_there_are_unseen_images_is_refused_before_work_starts(tmp_path):
    many = plan_of(SMALL, tmp_path, "kkt.analysis.decoys=5000").experiment
    with pytest.raises(UserError, match=r"kkt.analysis.decoys is 5000"):
        stage_named("kkt_analysis").check(many)


def test_a_victim_of_another_architecture_is_named(small, tmp_path):
    other = plan_of(SMALL, tmp_path)
    for name in ("kkt_victim", "kkt_attack"):
        shutil.copytree(small.experiment.shard_directory / name, other.experiment.shard_directory / name)
    victim = other.path(stage_named("kkt_victim"), "victim")
    arrays, facts = read_arrays(victim), read_attributes(victim)
    arrays["state/layers.1.weight"] = np.zeros((50, 100), np.float32)
    kept = {name: value for name, value in facts.items() if name not in ("fingerprint", "complete", "files")}
    write_shard(victim, Result(arrays), facts["fingerprint"], kept)
    with pytest.raises(UserError, match=r"of another architecture: layers.1.weight is \(50, 100\)"):
        make_shard(other, stage_named("kkt_analysis"), "analysis", "cpu", lambda *_: None)
