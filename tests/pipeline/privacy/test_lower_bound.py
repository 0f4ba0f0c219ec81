"""Honest DP is refuted in no more than 5 % of audits, broken DP is refuted, and lower bounds lie below the truth."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pipeline.errors import UserError
from pipeline.evaluation.rates import rates
from pipeline.privacy.audit import audit, crosses, held_out_bounds, separation
from pipeline.privacy.canary import audit_training, crafted
from pipeline.privacy.trade_off import trade_off
from pipeline.shadow import private
from pipeline.shadow.accountant import Guarantee, epsilon
from pipeline.shadow.settings import Training

REPETITIONS = 200


def claimed(noise_multiplier: float, delta: float = 1e-3) -> Guarantee:
    """One Gaussian step without sampling."""
    spent = epsilon(noise_multiplier, sample_rate=1.0, steps=1, delta=delta)
    return Guarantee(noise_multiplier, 1.0, 1.0, 1, delta, spent)


def gaussian_scores(sigma: float, victims: int, generator: np.random.Generator, records: int = 1):
    """The mechanism's output along the record, low with it: of victims with the record and without (minus one)."""
    return generator.normal(-1, sigma, (victims, records)), generator.normal(0, sigma, (victims, records))


def test_a_gaussian_mechanism_stays_under_its_f_in_200_repetitions():
    """The score is the best there is, so that the true ROC is 1 − f itself: nothing but the intervals keeps it
    below."""
    sigma, fpr = 1.0, (0.01, 0.05, 0.1, 0.5)
    curve = trade_off(sigma, 1.0, 1)
    above, refuted = np.zeros(len(fpr)), 0
    for repetition in range(REPETITIONS):
        generator = np.random.default_rng(repetition)
        h0, h1 = gaussian_scores(sigma, 500, generator)
        found = rates(np.exp(h0 - 10), np.exp(h1 - 10), 1.0, fpr, 40, generator)
        above += found.tpr[0, :, 1] > curve.largest_tpr(np.array(fpr))
        refuted += crosses(held_out_bounds(h0, h1, separation, generator), curve)
    assert (above <= 0.05 * REPETITIONS).all()
    assert refuted <= 0.05 * REPETITIONS


def test_less_noise_than_claimed_is_refuted():
    found = 0
    for repetition in range(20):
        generator = np.random.default_rng(repetition)
        h0, h1 = gaussian_scores(0.6, 500, generator)
        found += crosses(held_out_bounds(h0, h1, separation, generator), trade_off(1.0, 1.0, 1))
    assert found == 20


def test_bounds_lie_below_the_truth_and_not_far():
    generator = np.random.default_rng(0)
    promise = claimed(1.0)
    found = audit(*gaussian_scores(1.0, 20000, generator), promise, generator)
    assert not found.refuted
    assert 0.5 * promise.epsilon < found.epsilon < promise.epsilon
    assert 0.85 * promise.epsilon < found.family_epsilon < promise.epsilon
    assert 1 < found.family_noise < 1.15


def test_rows_of_one_victim_are_not_independent_evidence():
    """Every score fifty times: 60 victims know no more than before, and honest DP is not refuted more often."""
    refuted = 0
    for repetition in range(REPETITIONS):
        generator = np.random.default_rng(repetition)
        copied = (np.repeat(table, 50, 1) for table in gaussian_scores(1.0, 60, generator))
        refuted += crosses(held_out_bounds(*copied, separation, generator), trade_off(1.0, 1.0, 1))
    assert refuted <= 0.05 * REPETITIONS


def test_perfect_separation_of_a_few_proves_little():
    """Exact intervals of 10 victims a half: P ≥ TAIL^(1/10), Q ≤ 1 − TAIL^(1/10)."""
    h0, h1 = np.zeros((20, 1)), np.ones((20, 1))
    found = audit(h0, h1, claimed(1.0, delta=0.0625), np.random.default_rng(0))
    low = (0.05 / 8) ** 0.1
    assert found.epsilon == pytest.approx(math.log((low - 0.0625) / (1 - low)))
    assert found.refuted == (low > norm.cdf(1 - norm.isf(1 - low)))


@pytest.mark.parametrize("shapes", [((5, 1), (4, 1)), ((3, 2), (3, 2)), ((8,), (8,))])
def test_tables_that_prove_nothing_are_refused(shapes):
    with pytest.raises(UserError, match="an audit needs"):
        audit(np.zeros(shapes[0]), np.ones(shapes[1]), claimed(1.0), np.random.default_rng(0))


# ------------------------------------------------------------------------------------------- the project's own DP-SGD

PRIVACY = {"clip_norm": 1.0, "sample_rate": 0.5, "steps": 8, "noise_multiplier": 2.0}
LINEAR = {"classes": 10, "learning_rate": 0.05, "init_std": 0.002, "weight_decay": 1e-5}
TWO_LAYERS = {"classes": 1, "hidden": 8, "learning_rate": 0.1, "init_std": 0.5}


def audited(terms: dict, heads: int = 4000):
    """A canary along a feature that no other record has."""
    features = torch.randn(10, 16, generator=torch.Generator().manual_seed(0)).relu_()
    features[3], features[:, 0] = 0, 0
    features[3, 0] = 5
    labels = torch.arange(10) % max(terms["classes"], 2)
    return audit_training(features / 2, labels, 3, Training(**terms, private=PRIVACY), heads, ("test",))


def by_batch(gradients, taken, clip_norm):
    """Clips the mean gradient of the batch: then one record may move it by up to 2 c, whatever the batch size."""
    mean = [part / 5 for part in gradients.weighted(taken.to(gradients.below.dtype)).sums()]
    norm_of_mean = sum(part.flatten(1).square().sum(1) for part in mean).sqrt()
    return taken * (clip_norm / norm_of_mean).clamp(max=1)[:, None, None]


def forgetting_a_layer(honest):
    return lambda summed, std, generator: [*honest(summed[:1], std, generator), *summed[1:]]


@pytest.mark.parametrize("terms", [LINEAR, TWO_LAYERS], ids=["linear", "two layers"])
def test_our_dp_sgd_is_not_refuted_and_its_noise_is_found(terms):
    found = audited(terms)
    assert not found.refuted
    assert 2.0 < found.family_noise < 4.0


@pytest.mark.parametrize("terms", [LINEAR, TWO_LAYERS], ids=["linear", "two layers"])
def test_clipping_by_batch_is_caught(terms, monkeypatch):
    monkeypatch.setattr(private, "clip_factors", by_batch)
    assert audited(terms).refuted


def test_noise_forgotten_in_one_layer_is_caught(monkeypatch):
    monkeypatch.setattr(private, "add_noise", forgetting_a_layer(private.add_noise))
    found = audited(TWO_LAYERS)
    assert found.refuted
    assert found.epsilon > 0.78  # what the claim amounts to at δ = 10^-1.1


def test_a_crafted_canary_says_nothing_of_others_and_changes_none_of_them():
    features = torch.randn(10, 16, generator=torch.Generator().manual_seed(0)).relu_()
    changed = crafted(features, 3, torch.Generator().manual_seed(1))
    kept = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert torch.equal(changed[kept], features[kept])
    assert (features[kept] @ changed[3]).abs().max() < 1e-4
    assert changed[3].norm() == pytest.approx(float(features[kept].norm(dim=1).mean()), rel=1e-5)
    with pytest.raises(UserError, match="more features than 9 records; there are 9"):
        crafted(features[:, :9], 3, torch.Generator())


def test_a_canary_that_others_span_is_refused():
    features = torch.ones(10, 4)
    with pytest.raises(UserError, match="record 3 lies in the span of the others"):
        audit_training(features, torch.arange(10), 3, Training(**LINEAR, private=PRIVACY), 10, ("test",))


def test_training_without_noise_has_nothing_to_audit():
    with pytest.raises(UserError, match="needs private training"):
        audit_training(torch.eye(10), torch.arange(10), 3, Training(**LINEAR, epochs=1), 10, ("test",))
