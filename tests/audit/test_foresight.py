"""What a policy is said to cost and to show: by hand, and without any work done."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from expunge.audit import policy as policies
from expunge.audit.foresight import audit_cost, foresee, margin_for
from expunge.core.method import Cost
from expunge.data.canaries import plant
from expunge.engine.available import available
from expunge.engine.relearning import RelearningConfig
from tests.support import toys

WHOLE = Cost(trained=40 * 1000)


def problem(**more):
    _, planted = plant(toys.records(1000), count=200, secret=bytes(range(32)))
    given = {"train": planted.train, "forget": 6, "holdout": 300, "canaries": planted, **more}
    return toys.problem(**given)


def test_quick_costs_two_audits_and_no_retraining():
    of, quick = problem(), policies.load("quick")
    cost = audit_cost(of, quick, quick.suite(available(of)))
    assert cost == Cost(read=200 + 200)  # all canaries, and two thirds of 300 holdout records
    found = foresee(of, quick, references=0, whole=WHOLE, chosen=True)
    assert (found.policy, found.references, found.checks, found.chosen) == ("quick", 0, 2, True)
    assert found.missing == {}
    assert found.share == pytest.approx(2 * cost.share_of(WHOLE))


def test_what_canaries_can_show_is_known_in_full():
    of = problem()
    said, left_out = foresee(of, policies.load("quick"), references=0, whole=None).shows
    inside, outside = len(of.canaries.included), len(of.canaries.aside)
    sd = np.sqrt((inside + outside + 1) / (12 * inside * outside))
    far = 0.15 + sd * (stats.norm.ppf(1 - 0.0125) + stats.norm.ppf(0.8))
    passes = 2 * stats.norm.cdf(0.15 / sd - stats.norm.ppf(0.975)) - 1
    assert said == (
        f"{inside} canaries deleted against {outside} never in: {far:.2f} or more from 0.5 is called a failure "
        f"80% of times; a true retrain passes {passes:.0%} of times"
    )
    assert left_out.startswith("holdout_calibration is left out: 4 forgotten subjects")


def test_without_canaries_quick_cannot_be_used():
    found = foresee(problem(canaries=None), policies.load("quick"), references=0, whole=WHOLE)
    assert found.missing == {"canaries": "planted canaries"}
    assert found.shows == ()


def test_references_are_counted_as_retrainings():
    standard = replace(policies.load("standard"), choosing_references=2)
    found = foresee(problem(), standard, references=20, whole=WHOLE)
    assert found.share > 22
    assert "about 3.9 seed standard deviations" in found.shows[-1]
    without = foresee(problem(), standard, references=0, whole=WHOLE)
    assert "retrained references" in " ".join(without.missing.values())
    assert foresee(problem(), standard, references=20, whole=None).share is None


def test_the_margin_for_some_references_is_that_of_simulation():
    """Draw references and a true retrain from one normal law; judge it within the margin that is foreseen."""
    draw, count, alpha = np.random.default_rng(0), 5, 0.025
    margin = margin_for(count, alpha=alpha, chance=0.8)
    references = draw.normal(size=(40_000, count))
    value = draw.normal(size=40_000) - references.mean(axis=1)
    half = stats.t.ppf(1 - alpha, count - 1) * references.std(axis=1, ddof=1) * np.sqrt(1 + 1 / count)
    assert np.mean(np.abs(value) + half <= margin) == pytest.approx(0.8, abs=0.01)


def test_the_rule_of_thumb():
    """With 5 references the margin must be about 5 seed standard deviations, with 20 about 4."""
    assert margin_for(5, alpha=0.05, chance=0.95) == pytest.approx(5, abs=0.2)
    assert margin_for(20, alpha=0.05, chance=0.95) == pytest.approx(4, abs=0.2)


def test_relearning_costs_the_passes_of_the_policy():
    """60 forgotten records, 40 of them judged: two passes are 80 visits, five are 200."""
    of = toys.problem(count=200, forget=60, holdout=30)
    for epochs in (2, 5):
        policy = replace(policies.load("standard"), relearning=RelearningConfig(epochs=epochs))
        only = {"relearning": policy.checks["relearning"]}
        assert audit_cost(of, policy, only) == Cost(trained=40 * epochs, read=40 * epochs)


def test_any_number_of_references_is_foreseen_at_once():
    assert margin_for(10**9, alpha=0.05) == margin_for(1000, alpha=0.05)
    wide = stats.norm.ppf(0.95) + stats.norm.ppf(0.975)
    assert margin_for(1000, alpha=0.05, chance=0.95) == pytest.approx(wide, rel=0.01)
