"""LiRA and RMIA on 200 heads, held against the methods written out one head and one image at a time."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pipeline.errors import UserError
from pipeline.membership.attacks import log_odds, rmia
from pipeline.membership.inference import Evidence
from pipeline.membership.rating import membership_rates
from pipeline.membership.settings import Membership
from pipeline.membership.shadows import Base, odds_with
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan

VICTIMS, CLASSES, DIMENSIONS, SHADOWS, POPULATION, GAMMA = 200, 4, 6, 6, 20, 1.5
RATE, DECAY, EPOCHS = 0.5, 0.01, 5
TRAINING = Training(
    classes=CLASSES, learning_rate=RATE, weight_decay=DECAY, epochs=EPOCHS, initial="zero", dtype="float64"
)


# ------------------------------------------------------------------------------------------- the methods, written out


def train_one(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient descent from zero on the mean cross-entropy."""
    weight, bias = np.zeros((CLASSES, DIMENSIONS)), np.zeros(CLASSES)
    for _ in range(EPOCHS):
        slope = np.array(
            [probabilities(weight, bias, x) - np.eye(CLASSES)[y] for x, y in zip(features, labels, strict=True)]
        )
        weight, bias = (
            weight - RATE * (slope.T @ features / len(features) + DECAY * weight),
            bias - RATE * (slope.mean(0) + DECAY * bias),
        )
    return weight, bias


def probabilities(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    raised = np.exp(weight @ x + bias)
    return raised / raised.sum()


def phi(head, x, y) -> float:
    p = probabilities(*head, x)[y]
    return np.log(p / (1 - p))


def written_out(heads, images, own, base, population) -> dict[str, np.ndarray]:
    """Scores (V, N) of image n of victim v, where own[v, n] is an index, on head v of `heads`."""
    features, labels = images
    found = {name: np.zeros(own.shape) for name in ("lira_online", "lira_offline", "rmia")}
    shadows = [train_one(features[row], labels[row]) for row in base]
    p_z = [np.mean([probabilities(*head, x)[y] for head in shadows]) for x, y in population]
    for victim, head in enumerate(heads):
        ratio_z = [probabilities(*head, x)[y] / p for (x, y), p in zip(population, p_z, strict=True)]
        for place, index in enumerate(own[victim]):
            x, y = features[index], labels[index]
            with_it = []
            for row in base:
                swapped = row.copy()
                swapped[place] = index
                with_it.append(train_one(features[swapped], labels[swapped]))
            inside, outside = ([phi(one, x, y) for one in some] for some in (with_it, shadows))
            seen = phi(head, x, y)
            density = [norm.logpdf(seen, np.mean(some), np.std(some)) for some in (inside, outside)]
            found["lira_online"][victim, place] = density[0] - density[1]
            found["lira_offline"][victim, place] = norm.logsf(seen, np.mean(outside), np.std(outside))
            mean_p = [np.mean([probabilities(*one, x)[y] for one in some]) for some in (with_it, shadows)]
            ratio = probabilities(*head, x)[y] / np.mean(mean_p)
            found["rmia"][victim, place] = np.mean([ratio / other >= GAMMA for other in ratio_z])
    return found


# ------------------------------------------------------------------------------------------------------------ the test


def test_scores_of_200_heads_are_those_of_the_methods_written_out():
    rng = np.random.default_rng(0)
    count = (VICTIMS + SHADOWS) * CLASSES
    labels = np.tile(np.arange(CLASSES), VICTIMS + SHADOWS)
    features = 2 * np.eye(CLASSES, DIMENSIONS)[labels] + rng.normal(0, 1, (count, DIMENSIONS))
    sets = np.arange(count).reshape(-1, CLASSES)
    own, base = sets[:VICTIMS], sets[VICTIMS:]
    known = rng.integers(0, CLASSES, POPULATION)
    shown = 2 * np.eye(CLASSES, DIMENSIONS)[known] + rng.normal(0, 1, (POPULATION, DIMENSIONS))

    table, learnt = torch.as_tensor(features), torch.as_tensor(labels)

    def train(indices, goals, _=0):
        return train_shard(table, indices, goals, TRAINING, torch.Generator())

    head, indices = Head(DIMENSIONS, None, CLASSES), torch.as_tensor(sets)
    weights = train(indices, learnt[indices])
    knowledge = Base(weights[VICTIMS:], indices[VICTIMS:], learnt[indices[VICTIMS:]])
    records = indices[:VICTIMS].flatten()
    places = torch.arange(CLASSES).repeat(VICTIMS)
    members = odds_with(head, knowledge, records, places, learnt[records], table, train, lambda *_: None)
    mine, population = indices[:VICTIMS], (torch.as_tensor(shown), torch.as_tensor(known))
    shape = (VICTIMS, CLASSES, SHADOWS)
    evidence = Evidence.of(head, knowledge, (table[mine], learnt[mine]), members.view(shape), population)
    asked = Membership(shadows=SHADOWS, population=POPULATION, gamma=GAMMA)
    heads = weights[:VICTIMS, None].expand(-1, CLASSES, -1)
    found = evidence.scores(lambda victim: heads[victim], asked)

    trained = [train_one(features[row], labels[row]) for row in own]
    expected = written_out(trained, (features, labels), own, base, list(zip(shown, known, strict=True)))
    found_p = {**found, "lira_offline": norm.logsf(found["lira_offline"])}
    for name, table_of in expected.items():
        assert found_p[name] == pytest.approx(table_of, rel=1e-6, abs=1e-6), name

    others = evidence.scores(lambda victim: heads[(victim + 1) % VICTIMS], asked)
    rated = membership_rates(found["lira_online"], others["lira_online"], (0.1,), 20, np.random.default_rng(0))
    inside, outside = found["lira_online"].ravel(), others["lira_online"].ravel()
    auc = np.mean([np.mean(score > outside) for score in inside])
    assert rated["auc"][0] == pytest.approx(auc, abs=1e-9)
    assert auc > 0.7
    hits = np.mean(inside > np.quantile(outside, 0.9))
    assert rated["tpr"][0, 0] == pytest.approx(hits, abs=0.05)


def test_log_odds_do_not_saturate():
    """p_y rounds to 1 in float32, its odds do not; one logit is its own log odds."""
    logits = torch.tensor([[[100.0], [0.0], [0.0]]])
    assert log_odds(logits, torch.tensor([[0]])).item() == pytest.approx(100 - np.log(2), rel=1e-6)
    assert log_odds(logits, torch.tensor([[1]])).item() == pytest.approx(-100, rel=1e-6)
    single = torch.tensor([[[3.0, 3.0]]])
    assert log_odds(single, torch.tensor([[1, 0]])).tolist() == [[3.0, -3.0]]


def test_rmia_counts_the_population_images_that_are_outdone():
    """p(x|θ) = .8 and p(x) = .4 make 2; the two z make 1 and .5: 2 of 2 are outdone at γ = 2, 1 of 2 beyond."""
    odds = lambda p: float(np.log(p / (1 - p)))  # noqa: E731
    target, members, others = torch.tensor(odds(0.8)), torch.tensor([odds(0.6)]), torch.tensor([odds(0.2)])
    population = torch.tensor([odds(0.5), odds(0.25)])
    own = torch.tensor([[odds(0.5)], [odds(0.5)]])
    values = [float(rmia(target, members, others, population, own, gamma)) for gamma in (1.99, 2.5, 4.1)]
    assert values == [1.0, 0.5, 0.0]


PRIVATE = "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 8, noise_multiplier: 1.23}"
MEMBERSHIP = "membership={shadows: 8, population: 50}"
LESS = "membership={attacks: [lira_online], shadows: 4}"


@pytest.mark.parametrize(
    "more",
    [
        (LESS, "evaluation.nulls=[other_victims, minus_one]", "shadow_models.training.epochs=null", PRIVATE),
        ("shadow_models.source=stream", "evaluation.nulls=[other_victims]"),
        ("task={kind: binary, positive: [1, 3, 5]}", "shadow_models.training.classes=1"),
    ],
    ids=["private", "streamed", "binary"],
)
def test_the_stage_infers_membership_of_the_victims(tiny, more):
    plan = Plan(tiny(MEMBERSHIP, "reconstructor=null", *more))
    for name in ("deep_features", "nearest_neighbour", "shadow_models", "weight_stats", "membership"):
        for shard in stage_named(name).shards(plan.experiment):
            made = make_shard(plan, stage_named(name), shard, "cpu", lambda *_: None)
    found = made.arrays
    assert found["lira_online/members"].shape == (16, 10)
    if any("private" in word for word in more):
        assert found["lira_online/minus_one/ceiling"].shape == found["lira_online/minus_one/curve_fpr"].shape
        assert made.attributes["lira_online/refuted"] is False
    else:
        for name in ("lira_online", "lira_offline", "rmia"):
            assert found[f"{name}/other_victims/auc"][0] > 0.5
        assert not any("minus_one" in name for name in found)
    make_shard(plan, stage_named("report"), "report", "cpu", lambda *_: None)
    page = (plan.path(stage_named("report"), "report").parent / "index.html").read_text()
    for said in ("Membership inference", "LiRA, online", *(["clip norm"] if "audit" in "".join(found) else [])):
        assert said in page


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("membership={shadows: 65}", r"membership.shadows: 65 are more than shadow_models.models_per_seed, 64"),
        ("shadow_models.data={name: mnist_digits}", "membership: needs shadow models of the same classes"),
    ],
)
def test_what_cannot_be_inferred_is_refused(tiny, override, line):
    experiment = tiny(MEMBERSHIP, override)
    with pytest.raises(UserError, match=line):
        stage_named("membership").check(experiment)
