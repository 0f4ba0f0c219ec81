"""Experiments side by side: what they differ in, what it did, and a curve where that is one number."""

import csv
import math

import numpy as np
import pytest
import yaml
from scipy.special import expit

from jobs.compare import differences
from pipeline import ROOT
from pipeline.config import load
from pipeline.reconstruction.chapter import comparison
from pipeline.shadow.spent import guarantee
from stages.execution import make_shard
from stages.plan import Plan
from tests.command_line import run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two points of an init study, and one with another learning rate too, rated from imported tables of scores."""
    place = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    configs = []
    for name, changes, mean in (
        ("small", {"init_std": 0.002}, -2.0),
        ("large", {"init_std": 0.2}, -1.0),
        ("both", {"init_std": 0.02, "learning_rate": 0.1}, -1.5),
    ):
        keys = {
            "extends": str(ROOT / "config_data" / "demo.yml"),
            "imported": ["min_mse"],
            "paths": {"runs": str(place / "runs")},
            "shadow_models": {"training": changes},
            "evaluation": {"nulls": ["correlation"], "threshold": 0.1, "bootstraps": 20},
        }
        config = place / f"{name}.yml"
        config.write_text(yaml.safe_dump(keys))
        given = []
        for table, centre in (("h0", mean), ("h1", 0.0)):
            np.save(place / f"{table}.npy", 4 * expit(rng.normal(centre, 1, (60, 10))))
            given.append(f"{table}={place / table}.npy")
        for words in (["jobs", "import", config, "min_mse", *given], ["stages.roc", config]):
            assert run([str(word) for word in words]) == 0
        configs.append(config)
    return place, configs


def test_one_key_that_varies_makes_a_curve_and_tables(study, typed):
    place, (small, large, _) = study
    done = typed("jobs", "compare", small, large)
    assert done.returncode == 0, done.stderr
    assert "curve along shadow_models.training.init_std" in done.stdout
    found = place / "runs" / "comparisons" / "large-small"
    assert (found / "curve_conditional.png").read_bytes().startswith(b"\x89PNG")
    assert (found / "curve_conditional.pdf").read_bytes().startswith(b"%PDF")
    with (found / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["init std"]) for row in rows] == [0.002, 0.2]
    assert [float(row["ε"]) for row in rows] == [math.inf] * 2
    assert all(float(row["AUC low"]) < float(row["AUC"]) < float(row["AUC high"]) for row in rows)
    assert float(rows[0]["AUC low"]) > float(rows[1]["AUC high"])
    assert (found / "comparison.md").read_text().startswith("| experiment | mode |")


def test_where_several_keys_vary_it_says_so_and_takes_a_choice(study, typed):
    place, configs = study
    done = typed("jobs", "compare", *configs)
    assert done.returncode == 0, done.stderr
    assert "no curve: they differ in 2 keys (shadow_models.training.init_std" in done.stdout
    found = place / "runs" / "comparisons" / "both-large-small"
    assert not (found / "curve_conditional.png").exists()
    chosen = typed("jobs", "compare", *configs, "--along", "shadow_models.training.init_std")
    assert chosen.returncode == 0, chosen.stderr
    assert (found / "curve_conditional.png").exists()
    wrong = typed("jobs", "compare", *configs, "--along", "seed")
    assert wrong.returncode == 2
    assert "--along seed: the experiments do not differ in it; they do in shadow_models" in wrong.stderr


def test_noise_counts_as_epsilon():
    private = "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 64, noise_multiplier: %s}"
    made = [load("demo", ["shadow_models.training.epochs=null", private % sigma]) for sigma in (1.82, 0.6)]
    assert list(differences(made)) == ["ε"]


def test_epsilon_is_stated_with_all_that_it_depends_on(tiny):
    private = "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 8, noise_multiplier: 1.5}"
    plan = Plan(tiny("shadow_models.training.epochs=null", private, "evaluation.nulls=[other_victims, minus_one]"))
    for stage in plan.stages[:-1]:
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)
    table = comparison([plan])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    stated = {name: row[name] for name in ("σ", "q", "T", "clip norm", "δ")}
    assert stated == {"σ": 1.5, "q": 0.5, "T": 8, "clip norm": 4.0, "δ": pytest.approx(10**-1.1, abs=1e-4)}
    assert 0 <= row["ε at least"] < row["ε"]
    kappa, ceiling, rebuilt = (row[name] for name in ("κ", "ceiling 1 − f(κ)", "rebuilt"))
    assert kappa.value < ceiling.value
    assert rebuilt.low <= ceiling.high


def test_without_noise_there_is_no_account(tiny):
    assert guarantee(Plan(tiny())) == {}
