"""f over the curves, κ and its ceiling, and what the report says of a claim that holds and of one that does not."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from pipeline.evaluation.intervals import share
from pipeline.evaluation.rates import rates
from pipeline.privacy.section import section
from pipeline.privacy.trade_off import trade_off
from pipeline.privacy.verdict import audited, ceilings, robustness
from pipeline.shadow.accountant import Guarantee, epsilon
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan

WANTED = (0.01, 0.1)
DELTA = 1e-2


def scored(sigma: float, victims: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """One Gaussian step of sensitivity 1, read by its best test: (V, 2) with the record, (V, 3, 2) without."""
    generator = np.random.default_rng(0)
    with_it, without = generator.normal(-1, sigma, (victims, 2)), generator.normal(0, sigma, (victims, 3, 2))
    return 4 * expit(with_it), 4 * expit(without)


def judged(true_sigma: float, claimed_sigma: float):
    """What the stage privacy stores and the report says, of a claim of `claimed_sigma`."""
    h0, h1 = scored(true_sigma)
    spent = epsilon(claimed_sigma, sample_rate=1.0, steps=1, delta=DELTA)
    claimed = Guarantee(claimed_sigma, 1.0, 1.0, 1, DELTA, spent)
    curve = trade_off(claimed_sigma, 1.0, 1)
    generator = np.random.default_rng(1)
    rated = asdict(rates(h0, h1.reshape(len(h1), -1), 1.0, WANTED, 40, generator))
    table = {f"minus_one/{name}": np.asarray(value)[None] for name, value in rated.items()}
    table["false_positive_rates"] = np.array(WANTED)
    found = audited(h0, h1, claimed, generator, None)
    arrays = {**ceilings(curve, table, "minus_one", np.array(WANTED)), **found.arrays}
    hits = np.random.default_rng(2).random((400, 2)) < 0.1
    guess = np.stack([share(one) for one in (hits, hits[:, :1], hits[:, 1:])])
    arrays |= robustness(curve, {"best_image/record_hits": guess, "best_image/guess": hits}, h0, 1.5, None)
    facts = asdict(claimed) | found.facts
    return arrays, facts, section(table, arrays, facts, ["minus_one"], "conditional")


def test_the_ceiling_of_one_gaussian_step_has_a_closed_form():
    """1 − f(α) = Φ(Φ⁻¹(α) + 1/σ) (Dong, Roth and Su 2019)."""
    arrays, _, _ = judged(2.0, 2.0)
    assert arrays["minus_one/wanted_ceiling"] == pytest.approx(norm.cdf(norm.ppf(WANTED) + 0.5), abs=2e-3)
    kappa = arrays["robustness/prior_success"]
    assert arrays["robustness/ceiling"] == pytest.approx(norm.cdf(norm.ppf(kappa) + 0.5), abs=2e-3)
    assert (arrays["robustness/rebuilt"][0, 0] == (scored(2.0)[0] <= 1.5).mean()) and len(kappa) == 3


def test_a_claim_that_holds_is_not_refuted():
    arrays, facts, page = judged(1.0, 1.0)
    assert not facts["refuted"]
    assert facts["epsilon_lower"] < facts["epsilon"]
    assert not any("held-out victims" in warning for warning in page.warnings)
    assert arrays["minus_one/above"].mean() < 0.05


def test_a_claim_of_more_noise_than_there_is_is_refuted_and_said_so():
    arrays, facts, page = judged(0.5, 1.0)
    assert facts["refuted"]
    assert facts["family_noise"] < 1.0
    assert facts["family_epsilon"] > facts["epsilon"]
    assert arrays["minus_one/above"][0].any()
    assert "The DP claim is refuted: on held-out victims" in page.warnings[0]
    assert "beyond its interval above f" in page.warnings[1]
    guarantee, at_rates, _ = page.tables
    assert len(guarantee.rows) == 1
    row = dict(zip(guarantee.columns, guarantee.rows[0], strict=True))
    assert row["claim"] == "refuted"
    assert {"δ", "noise multiplier σ", "sample rate q", "steps T", "clip norm"} <= set(guarantee.columns)
    assert [row[-1] for row in at_rates.rows] == ["above", "above"]


def test_other_nulls_refute_nothing():
    """The same scores under the name of a null that changes every record."""
    _, facts, _ = judged(0.5, 1.0)
    h0, h1 = scored(0.5)
    rated = asdict(rates(h0, h1.reshape(len(h1), -1), 1.0, WANTED, 40, np.random.default_rng(1)))
    table = {f"other_victims/{name}": np.asarray(value)[None] for name, value in rated.items()}
    table["false_positive_rates"] = np.array(WANTED)
    found = ceilings(trade_off(1.0, 1.0, 1), table, "other_victims", np.array(WANTED))
    claim = {name: facts[name] for name in Guarantee.__annotations__}
    page = section(table, found, claim, ["other_victims"], "conditional")
    assert page.warnings == [
        "No null here is bounded by f. To hold the claim against these victims, add minus_one to evaluation.nulls."
    ]
    assert "refute nothing" in page.text


PRIVATE = "shadow_models.training.private={clip_norm: 4.0, sample_rate: 0.5, steps: 8, noise_multiplier: 1.23}"


def test_the_stage_stores_it_and_the_report_draws_it(tiny, monkeypatch):
    monkeypatch.setattr("stages.privacy.CANARIES", 400)
    plan = Plan(tiny("evaluation.nulls=[other_victims, minus_one]", "shadow_models.training.epochs=null", PRIVATE))
    for stage in plan.stages:
        for shard in stage.shards(plan.experiment):
            make_shard(plan, stage, shard, "cpu", lambda *_: None)
    made, rated = (plan.finished(stage_named(name)) for name in ("privacy", "roc"))
    found, facts = made.read("conditional"), made.attributes("conditional")
    curve = trade_off(1.23, 0.5, 8)
    assert found["minus_one/ceiling"] == pytest.approx(
        curve.largest_tpr(rated.read("conditional", "minus_one/curve_fpr")["minus_one/curve_fpr"])
    )
    assert float(facts["epsilon"]) == pytest.approx(epsilon(1.23, sample_rate=0.5, steps=8, delta=10**-1.1))
    report = plan.path(stage_named("report"), "report").parent
    assert (report / "privacy_conditional.png").read_bytes().startswith(b"\x89PNG")
    page = (report / "index.html").read_text()
    assert not facts["canary/refuted"]
    assert float(facts["canary/epsilon_lower"]) < float(facts["epsilon"])
    for said in (
        "sample rate q = 0.5, T = 8 steps and clip norm 4",
        "their curves may lie",
        "ε at least",
        "κ, best guess",
    ):
        assert said in page


def test_without_noise_there_is_nothing_to_hold_to(tiny):
    assert stage_named("privacy").shards(tiny()) == []
