"""Experiments: what extends what, and one line for every mistake."""

import pytest
import yaml

from pipeline import ROOT
from pipeline.config import load, load_all
from pipeline.errors import UserError

CONFIGS = sorted(file.stem for file in (ROOT / "config_data").glob("*.yml"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_experiment_is_valid(name):
    assert {point.name for point in load_all(name)} == {name}


def test_the_factor_study_has_every_published_factor():
    points = {point.point.removeprefix("factor="): point for point in load_all("mnist_factors")}
    assert points["class_size_3"].shadow_models.class_size == 3
    assert {points[f"epochs_{2**k}"].shadow_models.training.epochs for k in (0, 1, 2, 3, 4, 6, 7, 8, 9)} == {
        2**k for k in (0, 1, 2, 3, 4, 6, 7, 8, 9)
    }
    assert points["binary"].shadow_models.training.hidden == 8
    assert points["epsilon_5"].shadow_models.training.private.noise_multiplier == 1.82
    assert points["published"].shadow_models == load("mnist_n10").shadow_models


@pytest.mark.parametrize(
    ("name", "class_size", "shadows", "victims", "rate", "epochs", "decay", "std"),
    [
        ("mnist_n10", 1, 500 * 5120, 892, 0.01, 32, 1e-5, 0.002),
        ("mnist_n40", 4, 2000 * 1280, 223, 0.01, 50, 1e-5, 0.002),
        ("mnist_binary", 1, 500 * 5120, 892, 0.1, 32, 1e-4, 0.002),
        ("cifar10_n10", 1, 512 * 5000, 1000, 0.01, 48, 1e-4, 0.0002),
        ("cifar10_n40", 4, 2048 * 1250, 250, 0.01, 78, 1e-4, 0.0002),
        ("cifar10_binary", 1, 512 * 5000, 1000, 0.05, 48, 1e-4, 0.0002),
        ("celeba_n10", 1, 125 * 20480, 10240, 0.02, 100, 0.01, 0.0002),
        ("celeba_n40", 4, 125 * 20480, 10240, 0.02, 100, 0.01, 0.0002),
    ],
)
def test_published_hyper_parameters(name, class_size, shadows, victims, rate, epochs, decay, std):
    shadow = load(name).shadow_models
    training = shadow.training
    assert shadow.class_size == class_size
    assert shadow.seeds * shadow.models_per_seed == shadows
    assert shadow.test_models == victims
    assert (training.learning_rate, training.epochs) == (rate, epochs)
    assert (training.weight_decay, training.init_std) == (decay, std)


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path):
    (tmp_path / "base.yml").write_text(
        (ROOT / "config_data" / "demo.yml")
        .read_text()
        .replace("extends: mnist_n10.yml", f"extends: {ROOT / 'config_data' / 'mnist_n10.yml'}")
    )
    (tmp_path / "mine.yml").write_text("extends: base.yml\nreconstructor: {modes: [unconditional], width: 8}\n")
    mine = load(tmp_path / "mine.yml")
    assert mine.name == "mine"
    assert mine.reconstructor.modes == ("unconditional",)
    assert (mine.reconstructor.width, mine.reconstructor.batch_size) == (8, load("demo").reconstructor.batch_size)


def test_a_file_that_extends_itself_is_refused(tmp_path):
    (tmp_path / "a.yml").write_text("extends: b.yml\n")
    (tmp_path / "b.yml").write_text("extends: a.yml\n")
    with pytest.raises(UserError, match="extends itself"):
        load(tmp_path / "a.yml")


def test_overrides_are_yaml_and_come_last():
    changed = load("demo", ["reconstructor.learning_rate=1e-5", "reconstructor.modes=[conditional, unconditional]"])
    assert changed.reconstructor.learning_rate == 1e-5
    assert changed.reconstructor.modes == ("conditional", "unconditional")
    assert "--set reconstructor.learning_rate=1e-5" in changed.arguments


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("reconstructor.learning_rat=1", r"reconstructor.learning_rat; did you mean learning_rate\?.*batch_size"),
        ("sead=1", r"unknown key sead; did you mean seed\?"),
        ("shadow_models.class_size=0", r"shadow_models.class_size should be greater than 0, not 0"),
        ("shadow_models.class_size=two", r"shadow_models.class_size should be a valid integer, not 'two'"),
        ("shadow_models.seeds=true", r"shadow_models.seeds should be a valid integer"),
        ("data.name=mnits", r"data.name should be .*'mnist'.*not 'mnits'"),
        ("shadow_models.training.classes=1", r"task.kind is multiclass but .*classes is 1"),
        ("data.path=/tmp/x", r"path is required for `name: folder` and `name: npz`"),
        ("backbone.weights=null", r"backbone.weights names no file and there is no pretrain part"),
        ("shadow_models.training.private={clip_norm: 1.0, sample_rate: 0.5, steps: 3}", r"noise_multiplier"),
        ("novalue", r"key.of.the.experiment=value"),
        ("source=x", r"set by the program"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_choices(override, said):
    overrides = ["pretrain=null"] * override.startswith("backbone") + [override]
    with pytest.raises(UserError, match=said) as caught:
        load("demo", overrides)
    assert "\n" not in str(caught.value)


def test_the_file_that_holds_the_mistake_is_named(tmp_path):
    parent = yaml.safe_load((ROOT / "config_data" / "mnist_n10.yml").read_text())
    parent["shadow_models"]["sedes"] = 3
    (tmp_path / "parent.yml").write_text(yaml.safe_dump(parent))
    (tmp_path / "child.yml").write_text("extends: parent.yml\nseed: 1\n")
    with pytest.raises(UserError, match=r"^parent.yml: unknown key shadow_models.sedes"):
        load(tmp_path / "child.yml")


def test_an_unknown_experiment_names_the_nearest_and_where_all_are():
    with pytest.raises(UserError, match=r"mnist_n11: no such .*did you mean mnist_n10\?.*jobs list"):
        load("mnist_n11")


@pytest.mark.parametrize("parent", ["demo", "demo.yml"])
def test_a_shipped_parent_is_found_by_its_name_from_anywhere(tmp_path, parent):
    (tmp_path / "mine.yml").write_text(f"extends: {parent}\nseed: 5\n")
    assert load(tmp_path / "mine.yml").reconstructor == load("demo").reconstructor


def test_a_parent_beside_the_file_hides_a_shipped_one_of_its_name(tmp_path):
    (tmp_path / "demo.yml").write_text("extends: mnist_n10\nseed: 7\n")
    (tmp_path / "mine.yml").write_text("extends: demo.yml\n")
    assert load(tmp_path / "mine.yml").seed == 7


def test_files_are_named_from_the_folder_of_the_experiment(tmp_path):
    (tmp_path / "net.pth").touch()
    (tmp_path / "mine.yml").write_text(
        "extends: demo\ndata: {name: npz, path: mine.npz}\nbackbone: {weights: net.pth}\n"
    )
    mine = load(tmp_path / "mine.yml")
    assert mine.data.path == str(tmp_path / "mine.npz"), "also where it is not there yet, so that the message is right"
    assert mine.backbone.weights == str(tmp_path / "net.pth")
    assert mine.shadow_models == load("demo").shadow_models


def test_a_file_that_only_the_checkout_has_is_taken_from_there(tmp_path):
    weights = load("demo").backbone.weights
    (tmp_path / "mine.yml").write_text(f"extends: demo\nbackbone: {{weights: {weights}}}\n")
    assert load(tmp_path / "mine.yml").backbone.weights == weights


def test_names_that_are_no_files_stay(tmp_path):
    (tmp_path / "mine.yml").write_text("extends: cifar10_n10\npretrain: {initial_weights: imagenet}\n")
    assert load(tmp_path / "mine.yml").pretrain.initial_weights == "imagenet"


def test_a_file_that_is_not_yaml_is_refused(tmp_path):
    (tmp_path / "broken.yml").write_text("a: [1, 2")
    with pytest.raises(UserError, match=r"broken.yml: cannot be read as YAML"):
        load(tmp_path / "broken.yml")


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        load("demo").seed = 3


def grid_file(tmp_path, grid):
    path = tmp_path / "study.yml"
    path.write_text(f"extends: {ROOT / 'config_data' / 'demo.yml'}\ngrid:\n{grid}")
    return path


def test_a_grid_is_every_combination_of_its_axes(tmp_path):
    path = grid_file(
        tmp_path,
        "  shadow_models.training.init_std: [2e-4, 0.2]\n"
        "  size:\n"
        "    one: {}\n"
        "    two: {shadow_models.class_size: 2, shadow_models.models_per_seed: 350, shadow_models.test_models: 80}\n",
    )
    points = load_all(path)
    assert [point.point for point in points] == [
        "init_std=0.0002,size=one",
        "init_std=0.0002,size=two",
        "init_std=0.2,size=one",
        "init_std=0.2,size=two",
    ]
    last = points[-1].shadow_models
    assert (last.training.init_std, last.class_size, last.models_per_seed) == (0.2, 2, 350)
    assert points[-1] == load(path, ["point=init_std=0.2,size=two"])
    assert points[0].run_directory != points[1].run_directory


def test_overrides_have_the_last_word_over_a_point(tmp_path):
    path = grid_file(tmp_path, "  shadow_models.training.epochs: [2, 4]\n")
    assert [point.shadow_models.training.epochs for point in load_all(path)] == [2, 4]
    assert [p.shadow_models.training.epochs for p in load_all(path, ["shadow_models.training.epochs=9"])] == [9, 9]
    assert len(load_all(path, ["point=epochs=4"])) == 1


def test_an_experiment_without_a_grid_is_itself():
    assert load_all("demo", ["seed=3"]) == [load("demo", ["seed=3"])]


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("  seed: 3\n", r"study.yml: grid.seed is a list of values, or labels"),
        ("  sead: [3]\n", r"study.yml, grid point sead=3: unknown key sead; did you mean seed\?"),
        ("  []\n", "grid is a mapping of axes"),
    ],
)
def test_a_mistake_in_a_grid_is_one_line(tmp_path, grid, said):
    with pytest.raises(UserError, match=said):
        load_all(grid_file(tmp_path, grid))


def test_one_point_has_to_be_chosen_where_one_experiment_is_needed(tmp_path):
    with pytest.raises(UserError, match=r"study.yml is a grid; choose one .*point=…: seed=1, seed=2"):
        load(grid_file(tmp_path, "  seed: [1, 2]\n"))
