"""Others' runs, brought in as files: scored as they are, or gone on from; what does not fit is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import expit

from pipeline import ROOT
from pipeline.evaluation.curves import auc
from pipeline.networks.reconstructor import Reconstructor
from pipeline.store import read_arrays, read_attributes
from stages import stage_named
from stages.plan import Plan


def jobs(experiment, verb, *more):
    sets = [part for override in experiment.overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "jobs", verb, "demo", *more, *sets]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def tables(tmp_path):
    rng = np.random.default_rng(0)
    paths = {}
    for name, mean, victims in (("h0", -1.5, 40), ("h1", 0.0, 60)):
        paths[name] = tmp_path / f"{name}.npy"
        np.save(paths[name], 4 * expit(rng.normal(mean, 1, (victims, 10))))
    return paths


def test_tables_of_scores_are_rated_and_reported_without_anything_before_them(tiny, tables):
    scored = tiny("imported=[min_mse]", "evaluation.nulls=[correlation]", "evaluation.threshold=0.0696")
    refused = jobs(scored, "run", "--executor", "inline")
    assert refused.returncode == 2
    assert "min_mse is to be imported, and conditional is not there: python -m jobs import" in refused.stderr
    done = jobs(scored, "import", "min_mse/conditional", f"h0={tables['h0']}", f"h1={tables['h1']}")
    assert done.returncode == 0, done.stderr
    assert "next:  python -m jobs run" in done.stdout
    run = jobs(scored, "run", "--executor", "inline")
    assert run.returncode == 0, run.stderr
    assert [line.split()[0] for line in run.stdout.splitlines()[:2]] == ["roc", "report"]
    plan = Plan(scored)
    h0, h1 = (np.load(tables[name]) for name in ("h0", "h1"))
    found = read_arrays(plan.path(stage_named("roc"), "conditional"))
    assert found["correlation/auc"][0, 0] == pytest.approx(auc(h0, h1), abs=1e-12)
    assert found["correlation/threshold_tpr"][0, 0] == pytest.approx((h0 <= 0.0696).mean(), abs=1e-12)
    assert read_attributes(plan.path(stage_named("min_mse"), "conditional"))["imported"].startswith("h0.npy (sha256 ")
    page = (scored.run_directory / "report" / "index.html").read_text()
    assert "min_mse was not made here but imported from h0.npy (sha256 " in page
    assert "pinned by the experiment" in page
    assert "there are no pictures" in page


def test_weights_statistics_and_network_of_another_run_give_its_scores_again(tiny, tmp_path):
    first = tiny()
    made = jobs(first, "run", "--executor", "inline")
    assert made.returncode == 0, made.stderr
    plan, other = Plan(first), tiny("name=other", "imported=[shadow_models, weight_stats, reconstructor]")

    def of(stage, shard):
        return read_arrays(plan.path(stage_named(stage), shard))

    files = {}
    for shard in stage_named("shadow_models").shards(first):
        files[f"shadow_models/{shard}"] = {"weights": of("shadow_models", shard)["weights"]}
    statistics = of("weight_stats", "all")
    assert statistics["kept"].all()
    files["weight_stats"] = {name: statistics[name] for name in ("mean", "deviation", "correlation")}
    for target, arrays in files.items():
        given = []
        for name, array in arrays.items():
            path = tmp_path / f"{target.replace('/', '-')}-{name}.npy"
            np.save(path, array)
            given.append(f"{name}={path}")
        done = jobs(other, "import", target, *given)
        assert done.returncode == 0, done.stderr
    state = {
        name[6:]: torch.as_tensor(array)
        for name, array in of("reconstructor", "conditional").items()
        if name[:6] == "state/"
    }
    torch.save(state, tmp_path / "reconstructor.pth")
    assert jobs(other, "import", "reconstructor", str(tmp_path / "reconstructor.pth")).returncode == 0
    run = jobs(other, "run", "--executor", "inline")
    assert run.returncode == 0, run.stderr
    again = read_arrays(Plan(other).path(stage_named("min_mse"), "conditional"))
    before = of("min_mse", "conditional")
    assert again.keys() == before.keys()
    for name, array in before.items():
        assert np.array_equal(array, again[name]), name


def test_what_does_not_fit_is_refused_in_one_line(tiny, tables, tmp_path):
    bad = np.load(tables["h0"])
    bad[3, 4] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    np.save(tmp_path / "cube.npy", np.zeros((7, 2, 2)))
    np.save(tmp_path / "small.npy", np.zeros((16, 100)))
    (tmp_path / "junk.pth").write_bytes(b"junk")
    torch.save(Reconstructor(2570, 1, 32, 3, 10).state_dict(), tmp_path / "wide.pth")
    h1 = f"h1={tables['h1']}"
    for target, files, said in (
        ("min_mse", [f"h0={tmp_path}/nan.npy", h1], "nan.npy: 1 of 400 numbers are not finite"),
        (
            "min_mse",
            [f"h0={tmp_path}/cube.npy", h1, h1.replace("h1", "h1/other_victims", 1)],
            "h0: has the shape (7, 2, 2); expected (any, any), victims by",
        ),
        ("min_mse", [f"h0={tables['h0']}"], "h1: no file for it"),
        ("min_mse", [f"h0={tables['h0']}", h1], "h1/other_victims: is missing; give h1/other_victims=FILE"),
        ("min_mse/other", [h1], "name one shard, min_mse/SHARD; this experiment has conditional"),
        ("roc", [h1], "what can be imported are shards of shadow_models, weight_stats, reconstructor, min_mse"),
        (
            "shadow_models/test-00000",
            [f"{tmp_path}/small.npy"],
            "shape (16, 100); expected (16, 2570), models and weights",
        ),
        ("reconstructor", [f"{tmp_path}/junk.pth"], "junk.pth: is no file of PyTorch tensors"),
        (
            "reconstructor",
            [f"{tmp_path}/wide.pth"],
            "is not that of a reconstructor of width 2: size mismatch for convT",
        ),
        ("reconstructor", [f"{tmp_path}/none.pth"], "there is no such file"),
    ):
        done = jobs(tiny(), "import", target, *files)
        assert done.returncode == 2, (target, done.stderr)
        assert said in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
