"""`python -m jobs audit`: from somebody's own head and images to the report card."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from jobs.__main__ import jobs
from pipeline import ROOT
from pipeline.audit.card import SCHEMA, Card, schema_bytes
from pipeline.audit.examination import check_recipe
from pipeline.audit.subject import audited
from pipeline.config import load
from pipeline.data.sources import from_array
from pipeline.errors import UserError
from pipeline.networks.backbones import Classifier, extract_features, load_trained_weights
from stages import stage_named
from stages.plan import Plan
from tests.conftest import TINY

BACKBONE = ROOT / "models_pretrained/vgg_tiny_emnist_letters.pth"
CLASSES, STEPS = 3, 16
CHOSEN = (
    *TINY,
    "reconstructor.reads=features",
    "reconstructor.network=fully_connected",
    "reconstructor.width=16",
    "shadow_models.models_per_seed=20",
    "shadow_models.test_models=8",
)


def digits() -> dict[str, np.ndarray]:
    """Zeros, ones and twos of the embedded digits."""
    with np.load(ROOT / "pipeline/data/mnist_digits.npz") as file:
        found = {}
        for split, count in (("train", 60), ("test", 40)):
            labels = file[f"{split}_labels"]
            places = np.concatenate([np.flatnonzero(labels == number)[:count] for number in range(CLASSES)])
            found |= {f"{split}_images": file[f"{split}_images"][places], f"{split}_labels": labels[places]}
    return found


def trained_head(images: np.ndarray, labels: np.ndarray) -> dict[str, torch.Tensor]:
    """As somebody's own script has it: torch.nn and torch.optim."""
    classifier = Classifier("vgg_tiny", classes=1)
    load_trained_weights(classifier, torch.load(BACKBONE, weights_only=True), "backbone")
    features = extract_features(classifier, from_array(images, labels), lambda *_: None)
    torch.manual_seed(1)
    head = nn.Linear(256, CLASSES)
    nn.init.normal_(head.weight, std=0.002)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, weight_decay=1e-5)
    for _ in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(head(features), torch.as_tensor(labels).long()).backward()
        optimizer.step()
    return head.state_dict()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """own.npz and head.pth of somebody's; theirs.npz, the adversary's images; mine.yml, the experiment."""
    here = tmp_path_factory.mktemp("audit")
    data = digits()
    private = np.array([85, 45, 5]) % 120  # one of each class, in no order
    images, labels = data["test_images"][private], data["test_labels"][private]
    assert sorted(labels) == [0, 1, 2]
    np.savez(here / "theirs.npz", **data)
    np.savez(here / "own.npz", images=images, labels=labels, class_names=["nil", "one", "two"])
    torch.save({"fc." + name: value for name, value in trained_head(images, labels).items()}, here / "head.pth")
    (here / "mine.yml").write_text(
        f"extends: demo\ndata: {{name: npz, path: theirs.npz, size: 12}}\n"
        f"paths: {{runs: {here}/runs, features: {here}/features}}\n"
        f"shadow_models: {{training: {{classes: {CLASSES}, epochs: {STEPS}}}}}\n"
        "subject: {head: head.pth, images: own.npz, null_heads: 60, tested_heads: 40, retrainings: 40}\n"
    )
    return here


def settings(*more: str) -> list[str]:
    return [part for override in (*CHOSEN, *more) for part in ("--set", override)]


def audit(place, *more: str):
    return CliRunner().invoke(
        jobs, ["audit", str(place / "mine.yml"), "--executor", "inline", *settings(*more)], catch_exceptions=True
    )


@pytest.fixture(scope="module")
def finished(place):
    done = audit(place)
    assert done.exit_code == 0, (done.output, done.exception)
    return place / "runs" / "mine" / "card", done.output


def test_an_audit_ends_with_a_verdict_and_the_card(finished):
    folder, said = finished
    card = Card.model_validate_json((folder / "card.json").read_bytes())
    assert card.verdict in " ".join(said.split())
    assert card.heads[0].file == "head.pth"
    assert [image.class_name for image in card.heads[0].images] == ["nil", "one", "two"]
    assert card.heads[0].recipe.belongs, "a stranger's own loop trains as the shadow models are"
    assert card.heads[0].verdict in ("exposed", "nothing found")
    assert card.tested_heads == 40
    page = (folder / "card.html").read_text()
    assert card.verdict.split(";")[0] in page.replace("&#39;", "'")
    assert page.count("data:image/png;base64,") == 1


def test_only_what_the_card_needs_is_made_and_nothing_twice(finished, place):
    folder, _ = finished
    assert {path.name for path in folder.parent.iterdir() if path.is_dir()} == {
        "audit",
        "card",
        "head_inversion",
        "logs",
        "reconstructor",
        "shadow_models",
    }
    again = audit(place)
    assert again.exit_code == 0
    assert "to do" not in again.output
    assert "The report card" in again.output


def test_the_schema_in_the_tree_is_that_of_the_card():
    assert json.loads(SCHEMA.read_bytes()) == json.loads(schema_bytes())


def test_another_head_is_judged_anew_and_the_attack_is_kept(place):
    def fingerprints(*more: str) -> dict[str, dict[str, str]]:
        plan = Plan(load(place / "mine.yml", [*CHOSEN, *more]))
        return {stage.name: plan.fingerprints(stage) for stage in plan.stages}

    torch.save({"weight": torch.zeros(3, 256), "bias": torch.zeros(3)}, place / "untrained.pth")
    first, other = fingerprints(), fingerprints(f"subject.head={place / 'untrained.pth'}")
    assert {name for name in first if first[name] != other[name]} == {"audit", "card"}


def test_a_head_that_was_not_trained_is_inconclusive_and_never_safe(finished, place):
    torch.save({"weight": torch.randn(3, 256) * 0.002, "bias": torch.zeros(3)}, place / "new.pth")
    done = audit(place, f"subject.head={place / 'new.pth'}")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "nothing can be concluded: recipe, images and weights do not belong together" in said
    assert "hardly moved from its initial weights" in said
    assert "can be rebuilt" not in said


def test_images_that_the_adversary_has_are_not_judged(finished, place):
    data = digits()
    np.savez(place / "known.npz", images=data["train_images"][[0, 60, 120]], labels=[0, 1, 2])
    done = audit(place, f"subject.images={place / 'known.npz'}")
    assert done.exit_code == 0, done.output
    card = Card.model_validate_json((finished[0] / "card.json").read_bytes())
    assert [image.known_to_adversary for image in card.heads[0].images] == [True] * 3
    assert card.heads[0].judged == 0
    assert card.heads[0].verdict == "inconclusive"


def test_several_images_of_a_class_and_several_heads(place):
    data = digits()
    private = np.array([0, 1, 40, 41, 80, 81])
    images, labels = data["test_images"][private], data["test_labels"][private]
    np.savez(place / "pairs.npz", images=images, labels=labels)
    torch.save(trained_head(images, labels), place / "pairs.pth")
    done = audit(
        place,
        "name=pairs",
        "shadow_models.class_size=2",
        f"subject.head=[{place / 'pairs.pth'}, {place / 'head.pth'}]",
        f"subject.images={place / 'pairs.npz'}",
        "subject.null_heads=30",
        "subject.tested_heads=20",
    )
    assert done.exit_code == 0, (done.output, done.exception)
    card = Card.model_validate_json((place / "runs/pairs/card/card.json").read_bytes())
    assert [head.recipe.belongs for head in card.heads] == [True, False]
    assert [image.class_name for image in card.heads[0].images] == [f"class {k}" for k in (0, 0, 1, 1, 2, 2)]
    assert "Of head head.pth nothing can be concluded" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("override", "likely"),
    [
        ("learning_rate=0.03", "learning_rate: 0.0"),
        ("learning_rate=0.001", "learning_rate: 0.01"),
        ("epochs=1", "epochs: "),
        ("init_std=0.02", "initial: normal, init_std: 0.00"),
        ("initial=zero", "initial: normal, init_std: 0.00"),
    ],
)
def test_a_wrong_recipe_is_found_and_the_key_named(place, override, likely):
    experiment = load(place / "mine.yml", [*CHOSEN, f"shadow_models.training.{override}"])
    (one,) = audited(experiment, {}, torch.device("cpu"))
    _, suspicion = check_recipe(experiment, one, ("test",))
    assert suspicion.change.startswith(likely)


def test_another_backbone_belongs_to_no_recipe(place):
    torch.manual_seed(0)
    state = torch.load(BACKBONE, weights_only=True)
    torch.save({name: 1.3 * torch.randn_like(part) * part.std() for name, part in state.items()}, place / "other.pth")
    experiment = load(place / "mine.yml", [*CHOSEN, f"backbone.weights={place / 'other.pth'}"])
    (one,) = audited(experiment, {}, torch.device("cpu"))
    fit, suspicion = check_recipe(experiment, one, ("test",))
    assert not fit.near
    assert suspicion is None


class Code:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("wide.pth", {"weight": torch.zeros(3, 512), "bias": torch.zeros(3)}, r"wide.pth holds weight \(3, 512\)"),
        ("few.pth", {"weight": torch.zeros(2, 256), "bias": torch.zeros(2)}, "expected one linear head 256→3"),
        ("code.pth", Code(), "code.pth: holds objects beside tensors"),
    ],
)
def test_files_that_are_no_such_head_are_refused_before_any_work(place, name, content, line, capsys):
    torch.save(content, place / name)
    done = audit(place, f"subject.head={place / name}")
    assert isinstance(done.exception, UserError)
    assert "run" not in capsys.readouterr().out.split()
    with pytest.raises(UserError, match=line):
        stage_named("audit").check(load(place / "mine.yml", [*CHOSEN, f"subject.head={place / name}"]))


def test_an_experiment_without_a_subject_is_told_what_it_lacks():
    done = CliRunner().invoke(jobs, ["audit", "demo"])
    assert isinstance(done.exception, UserError)
    assert "has no part subject; name the model and its training images" in str(done.exception)
