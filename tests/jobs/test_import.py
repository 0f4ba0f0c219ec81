"""Others' runs, brought in as files: scored as they are, or gone on from; what does not fit is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.special import expit

from jobs.display import Display
from jobs.executors.inline import InlineExecutor
from jobs.importing import import_shard
from jobs.run import carry_through, unfinished
from pipeline import ROOT
from pipeline.errors import UserError
from pipeline.evaluation.curves import auc
from pipeline.evaluation.victims import features_are_theirs
from pipeline.networks.reconstructor import Reconstructor
from pipeline.store import Result, Shards, read_arrays, read_attributes, write_shard
from stages import stage_named
from stages.plan import Plan


def words(experiment, verb, *more):
    return ["jobs", verb, "demo", *more, *(part for override in experiment.overrides for part in ("--set", override))]


def jobs(experiment, verb, *more):
    command = [sys.executable, "-m", *words(experiment, verb, *more)]
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
    whole = jobs(scored, "run", "--executor", "inline")
    assert whole.returncode == 0, whole.stderr
    assert [line.split()[0] for line in whole.stdout.splitlines()[:2]] == ["roc", "report"]
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


def test_weights_statistics_and_network_of_another_run_give_its_scores_again(tiny, tmp_path, typed):
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
        done = typed(*words(other, "import", target, *given))
        assert done.returncode == 0, done.stderr
    state = {
        name[6:]: torch.as_tensor(array)
        for name, array in of("reconstructor", "conditional").items()
        if name[:6] == "state/"
    }
    torch.save(state, tmp_path / "reconstructor.pth")
    assert typed(*words(other, "import", "reconstructor", str(tmp_path / "reconstructor.pth"))).returncode == 0
    whole = jobs(other, "run", "--executor", "inline")
    assert whole.returncode == 0, whole.stderr
    again = read_arrays(Plan(other).path(stage_named("min_mse"), "conditional"))
    before = of("min_mse", "conditional")
    assert again.keys() == before.keys()
    for name, array in before.items():
        assert np.array_equal(array, again[name]), name


def run_here(plan) -> None:
    with InlineExecutor() as executor:
        carry_through(plan, unfinished(plan, None), executor, "cpu", Display(Console(quiet=True)))


def test_imported_identities_are_scored_against_the_photos_of_the_published_deal(tiny, celeba, tmp_path):
    """CelebA's format: 12 people to train on, 7 held out, shuffled photos. The deal is written out in plain loops."""
    rng = np.random.default_rng(5)
    shuffled = rng.permutation(np.repeat(np.arange(20, 27), [1, 2, 3, 4, 5, 5, 6])).tolist()
    celeba([*np.repeat(np.arange(12), 3), *shuffled], [0] * 36 + [2] * 26)
    photos = []
    order = np.random.default_rng(0).permutation(26)
    for place in order:  # walk through the permuted photos; every photo of a person who has others gives a set
        person = shuffled[place]
        if shuffled.count(person) > 1:
            photos.append(next(first for first in order if shuffled[first] == person))
    photos = np.array(photos[:14])

    features = {"train": rng.normal(size=(36, 256)), "test": rng.normal(size=(26, 256))}
    heads = np.zeros((14, 4 * 256 + 4 + 4 + 1), np.float32)  # 256→4→1: yes to the one photo alone
    heads[:, :256] = features["test"][photos]
    heads[:, 1024] = -128  # half of its squared length
    heads[:, 1028], heads[:, 1032] = 1, -1
    for name, array in {**features, "heads": heads}.items():
        np.save(tmp_path / f"{name}.npy", array)
    identities = (
        "data={name: celeba}",
        f"paths.data={tmp_path}",
        "task={kind: identity}",
        "backbone.weights=null",
        "shadow_models={seeds: 2, models_per_seed: 20, test_models: 14}",
        "shadow_models.training={classes: 1, hidden: 4}",
        "reconstructor.modes=[unconditional]",
        "evaluation.threshold=0.1217",
    )
    experiment = tiny(*identities, "imported=[deep_features]")
    heads_file = [str(tmp_path / "heads.npy")]
    with pytest.raises(
        UserError, match=r"import shadow_models/test-00000: .*import theirs too \(deep_features/celeba-tr"
    ):
        import_shard(Plan(tiny(*identities)), "shadow_models/test-00000", heads_file, replace=False)
    for split in ("train", "test"):
        import_shard(Plan(experiment), f"deep_features/celeba-{split}", [str(tmp_path / f"{split}.npy")], replace=False)
    import_shard(Plan(experiment), "shadow_models/test-00000", heads_file, replace=False)
    plan = Plan(experiment)
    assert "pretrain" not in [stage.name for stage in plan.stages]
    run_here(plan)
    scores = plan.finished(stage_named("min_mse")).read("unconditional")
    assert scores["h0/nearest"][:, 0].tolist() == photos.tolist()
    assert scores["h0/person"].tolist() == (np.array(shuffled)[photos] - 20).tolist()
    assert scores["victims/trained_true_positive"].tolist() == [1.0] * 14
    assert scores["victims/unseen_true_positive"].tolist() == [0.0] * 14
    assert scores["victims/unseen_true_negative"].tolist() == [1.0] * 14
    page = (experiment.run_directory / "report" / "index.html").read_text()
    assert "true-negative rate" in page
    assert "deep_features was not made here but imported from test.npy (sha256 " in page

    for name, low in (("h0", 0.0), ("h1", 0.2)):  # and tables of theirs are rated by person
        np.save(tmp_path / f"{name}.npy", rng.uniform(low, 0.5, 14))
    tables = tiny(*identities, "name=tables", "imported=[min_mse, deep_features]", "evaluation.nulls=[shards]")
    given = [f"{name}={tmp_path}/{name}.npy" for name in ("h0", "h1")]
    imported = read_arrays(import_shard(Plan(tables), "min_mse", given, replace=False))
    assert imported["h0/person"].tolist() == scores["h0/person"].tolist()
    run_here(Plan(tables))
    assert "persons resampled" in (tables.run_directory / "report" / "index.html").read_text()


def test_imported_heads_are_judged_on_their_own_features_or_not(tiny, tmp_path):
    def shards(name: str, shard: str, **attributes) -> Shards:
        path = tmp_path / f"{name}.h5"
        write_shard(path, Result({}), "f", attributes)
        return Shards({shard: path})

    ours, theirs = shards("ours", "test-00000"), shards("theirs", "test-00000", imported="heads.npy")
    made, given = shards("made", "mnist_digits-test"), shards("given", "mnist_digits-test", imported="features.npy")
    named = tiny()
    nameless = named.model_copy(update={"backbone": named.backbone.model_copy(update={"weights": None})})
    for experiment, heads, features, expected in (
        (nameless, ours, made, True),
        (nameless, theirs, made, False),
        (nameless, theirs, given, True),
        (named, theirs, made, True),
    ):
        assert features_are_theirs(experiment, heads, features) is expected


def test_published_shapes_are_taken(tiny, tmp_path):
    """Statistics (1, P), and min-MSE tables of one reconstruction a victim, (V,)."""
    rng = np.random.default_rng(0)
    arrays = {"mean": rng.normal(size=(1, 2570)), "std": rng.uniform(1, 2, (1, 2570))}
    arrays |= {"h0": rng.uniform(0.05, 0.2, 40), "h1": rng.uniform(0.1, 0.3, 40)}
    paths = {}
    for name, array in arrays.items():
        np.save(paths.setdefault(name, tmp_path / f"{name}.npy"), array)
    statistics = tiny("evaluation.nulls=[other_victims]")
    given = [f"mean={paths['mean']}", f"deviation={paths['std']}"]
    found = read_arrays(import_shard(Plan(statistics), "weight_stats", given, replace=False))
    assert np.array_equal(found["mean"], arrays["mean"][0])
    tables = tiny("reconstructor.modes=[unconditional]", "evaluation.nulls=[correlation]", "shadow_models.test_seeds=2")
    given = [f"h0={paths['h0']}", f"h1={paths['h1']}"]
    found = read_arrays(import_shard(Plan(tables), "min_mse", given, replace=False))
    assert np.array_equal(found["h0/min_mse"], arrays["h0"][:, None])
    assert found["h0/seed"].tolist() == [0] * 20 + [1] * 20
    np.save(paths["h0"], np.full(39, 0.1))
    with pytest.raises(
        UserError, match=r"h0: has 39 victims; expected as many of each of shadow_models.test_seeds = 2"
    ):
        import_shard(Plan(tables), "min_mse", given, replace=True)
    np.save(paths["h0"], np.full(42, 0.1))
    with pytest.raises(UserError, match=r"several test seeds need as many victims in every table; found .*h0.: 42"):
        import_shard(Plan(tables), "min_mse", given, replace=True)


def test_what_does_not_fit_is_refused_in_one_line(tiny, tables, tmp_path, typed):
    bad = np.load(tables["h0"])
    bad[3, 4] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    np.save(tmp_path / "cube.npy", np.zeros((7, 2, 2)))
    np.save(tmp_path / "small.npy", np.zeros((16, 100)))
    np.save(tmp_path / "features.npy", np.zeros((2000, 256)))
    np.save(tmp_path / "labels.npy", np.arange(2000) % 7)
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
        (
            "roc",
            [h1],
            "what can be imported are shards of deep_features, shadow_models, weight_stats, reconstructor, min_mse",
        ),
        (
            "shadow_models/test-00000",
            [f"{tmp_path}/small.npy"],
            "shape (16, 100); expected (16, 2570), models and weights",
        ),
        (
            "deep_features/mnist_digits-test",
            [f"{tmp_path}/small.npy"],
            "features: has the shape (16, 100); expected (2000, 256), images and features of vgg_tiny",
        ),
        (
            "deep_features/mnist_digits-test",
            [f"{tmp_path}/features.npy", f"labels={tmp_path}/labels.npy"],
            "of 2000 are not those of mnist_digits-test; are the images in its order?",
        ),
        ("reconstructor", [f"{tmp_path}/junk.pth"], "junk.pth: is no file of PyTorch tensors"),
        (
            "reconstructor",
            [f"{tmp_path}/wide.pth"],
            "is not that of a reconstructor of width 2: size mismatch for convT",
        ),
        ("reconstructor", [f"{tmp_path}/none.pth"], "there is no such file"),
    ):
        done = typed(*words(tiny(), "import", target, *files))
        assert done.returncode == 2, (target, done.stderr)
        assert said in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
