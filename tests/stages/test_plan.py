"""Fingerprints: what a change makes stale, and what it leaves alone."""

import pytest

from pipeline import ROOT
from pipeline.config import load, load_all
from pipeline.data.contents import content_of
from pipeline.errors import Failure, UserError
from stages import NAMES, stage_named
from stages.plan import Plan


def changed(before, after) -> set[str]:
    """Stages of which a shard has another fingerprint, or another place."""
    first, second = Plan(before), Plan(after)
    return {stage.name for stage in first.stages if first.fingerprints(stage) != second.fingerprints(stage)}


AFTER_SHADOWS = {"shadow_models", "weight_stats", "reconstructor", "min_mse", "roc", "report"}


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("reconstructor.learning_rate=0.1", {"reconstructor", "min_mse", "roc", "report"}),
        ("shadow_models.training.weight_decay=0.1", AFTER_SHADOWS),
        ("shadow_models.data={name: mnist_digits}", AFTER_SHADOWS | {"baselines"}),
        ("evaluation.reconstructor=best", {"min_mse", "roc", "report"}),
        ("evaluation.bootstraps=70", {"roc", "report"}),
        ("evaluation.nulls=[correlation]", {"min_mse", "roc", "report"}),
        ("evaluation.null_draws=2", {"min_mse", "roc", "report"}),
        ("shadow_models.source=stream", AFTER_SHADOWS),
        ("shadow_models.test_models=140", {"shadow_models", "min_mse", "baselines", "roc", "report"}),
        ("reconstructor.tensorboard=true", set()),
        ("seed=5", AFTER_SHADOWS | {"baselines"}),
        ("resources.reconstructor={memory_gb: 99}", set()),
        ("paths.runs=elsewhere", set()),
        ("paths.data=elsewhere", set()),
    ],
)
def test_a_change_makes_stale_what_depends_on_it(override, stale):
    assert changed(load("demo_weights"), load("demo_weights", [override])) == stale


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("head_inversion.steps=7", {"head_inversion", "reconstructor", "min_mse", "roc", "report"}),
        ("head_inversion.augmentation.copies=2", {"deep_features"}),
        ("reconstructor.width=7", {"reconstructor", "min_mse", "roc", "report"}),
        ("shadow_models.seeds=7", {"shadow_models", "weight_stats", "min_mse", "roc", "report"}),
    ],
)
def test_a_change_of_the_demo_makes_stale_what_depends_on_it(override, stale):
    """Heads on augmented images are streamed: how many shadow models there are for the statistics does not matter."""
    found = changed(load("demo"), load("demo", [override]))
    assert stale <= found
    assert override.startswith("head_inversion.augmentation") or found == stale


def test_more_seeds_keep_the_shards_there_are():
    stage = stage_named("shadow_models")
    few, many = (Plan(load("demo_weights", [f"shadow_models.seeds={n}"])).fingerprints(stage) for n in (3, 9))
    assert few.items() <= many.items()
    assert changed(
        load("demo_weights", ["shadow_models.seeds=3"]), load("demo_weights", ["shadow_models.seeds=9"])
    ) == (AFTER_SHADOWS)


def test_other_victims_leave_the_watched_ones_alone():
    stage = stage_named("shadow_models")
    few, many = (Plan(load("demo_weights", [f"shadow_models.test_models={n}"])).fingerprints(stage) for n in (120, 150))
    assert {shard for shard in few if few[shard] != many[shard]} == {"test-00000"}


def test_a_stream_has_no_training_shards_and_its_statistics_depend_on_what_is_streamed():
    stream = ["shadow_models.source=stream"]
    assert stage_named("shadow_models").shards(load("demo_weights", stream)) == ["test-00000", "watch-00001"]
    for change in ("training.epochs=7", "models_per_seed=600", "seeds=50", "class_size=2"):
        changes = [*stream, f"shadow_models.{change}", "shadow_models.test_models=80"]
        assert "weight_stats" in changed(
            load("demo_weights", [*stream, "shadow_models.test_models=80"]), load("demo_weights", changes)
        )


def test_features_are_shared_by_experiments_and_backbones_do_not_overwrite_each_other(tmp_path):
    stage = stage_named("deep_features")
    one, two = Plan(load("demo_weights")), Plan(load("demo_weights", ["name=other", "shadow_models.class_size=2"]))
    assert {one.path(stage, s) for s in one.fingerprints(stage)} == {
        two.path(stage, s) for s in two.fingerprints(stage)
    }
    weights = tmp_path / "other.pth"
    weights.write_bytes(b"other weights")
    three = Plan(load("demo_weights", [f"backbone.weights={weights}"]))
    assert not {one.path(stage, s) for s in one.fingerprints(stage)} & {
        three.path(stage, s) for s in three.fingerprints(stage)
    }


def test_results_know_a_users_file_by_what_it_holds(npz_file, tmp_path):
    own = ["data={name: npz, path: %s, size: 32}"]
    stage = stage_named("deep_features")
    copy = tmp_path / "moved" / npz_file.name
    copy.parent.mkdir()
    copy.write_bytes(npz_file.read_bytes())
    first, second = (Plan(load("demo_weights", [own[0] % path])).fingerprints(stage) for path in (npz_file, copy))
    assert first == second
    copy.write_bytes(npz_file.read_bytes() + b" ")
    content_of.cache_clear()
    assert Plan(load("demo_weights", [own[0] % copy])).fingerprints(stage) != first


def test_every_published_experiment_has_a_plan():
    elsewhere = {
        "nearest_neighbour",
        "head_inversion",
        "privacy",
        "membership",
        "audit",
        "card",
        "gradient_inversion",
        "kkt_victim",
        "kkt_attack",
        "kkt_analysis",
    }
    for name in ("mnist_n10", "cifar10_n40", "celeba_n10", "cifar100_to_cifar10"):
        planned = [stage.name for stage in Plan(load(name)).stages]
        assert [stage for stage in planned if stage not in elsewhere] == [s for s in NAMES if s not in elsewhere]


def test_inputs_that_are_not_there_are_named_with_the_cure(tiny):
    plan = Plan(tiny())
    with pytest.raises(
        Failure, match=r"deep_features: 2 of 2 shards are not done \(first: mnist_digits-train, missing\)"
    ):
        plan.read_inputs(stage_named("shadow_models"))


def test_resources_of_an_unknown_stage_are_refused():
    with pytest.raises(
        UserError, match=r"demo_weights.yml: resources.shadows: there is no stage shadows; the stages are pretrain"
    ):
        Plan(load("demo_weights", ["resources.shadows={memory_gb: 1}"]))


def test_points_of_a_grid_share_what_is_the_same_and_keep_apart_what_is_not(tmp_path):
    study = tmp_path / "study.yml"
    study.write_text(
        f"extends: {ROOT / 'config_data' / 'demo.yml'}\ngrid: {{reconstructor.learning_rate: [0.1, 0.2]}}\n"
    )
    one, two = map(Plan, load_all(study))
    for stage in one.stages:
        places = [{plan.path(stage, shard) for shard in stage.shards(plan.experiment)} for plan in (one, two)]
        shared = stage.name not in ("reconstructor", "min_mse", "roc", "report")
        assert (places[0] == places[1]) if shared else not places[0] & places[1], stage.name
