"""Every check with the margin that a policy gives it: what is said of true retrains, leaks and damage."""

from functools import cache

import numpy as np
import pytest

from expunge.audit import policy
from expunge.audit.judge import judge_one
from expunge.conformance.law import Law
from expunge.conformance.token_law import TokenLaw
from expunge.core import registry
from expunge.core.check import Direction, Question
from expunge.core.verdict import Decision

OF = ("standard", "deep", "language")
MARGINS = {(of, name): margin for of in OF for name, margin in policy.load(of).checks.items()}
NAMES = sorted(MARGINS)
LEAKS = [(of, name) for of, name in NAMES if registry.load("checks", name).question is not Question.INTACT]
# Damage exposes nobody, and this one falls on all groups alike.
DAMAGES = [
    (of, name)
    for of, name in NAMES
    if registry.load("checks", name).question is Question.INTACT and name not in ("exposure", "equalised_odds")
]
TOO_MUCH = [
    *[(of, name) for of in ("standard", "deep") for name in ("forget_accuracy", "loss_membership")],
    *[(of, name) for of in ("standard", "deep") for name in ("output_divergence", "record_distance")],
    *[("language", name) for name in ("forget_accuracy", "label_confidence", "token_membership")],
]


@cache
def measured(name, of, seed=7, memory=0.0, damage=0.0, wrong=True):
    law = TokenLaw() if of == "language" else Law(wrong=wrong)
    model = law.model(seed, memory=memory, damage=damage)
    return registry.load("checks", name)().measure(law.evidence(model, references=references(of)))


def references(of):
    return 8 if of == "language" else 20


def finding(of, name, **model):
    check, found = registry.load("checks", name), measured(name, "language" if of == "language" else "", **model)
    return judge_one(check, found, MARGINS[of, name], alpha=0.025, required=9)


def test_the_policies_name_checks_that_exist():
    assert {name for _, name in NAMES} <= set(registry.names("checks"))
    standard, deep = (set(policy.load(of).checks) for of in ("standard", "deep"))
    assert len(standard) >= 12
    assert standard < deep
    assert not {"rouge", "representation", "worst_class_accuracy"} & set(policy.load("language").checks)


@pytest.mark.parametrize(("of", "name"), NAMES)
def test_a_true_retrain_passes(of, name):
    found = [finding(of, name, seed=seed) for seed in range(7, 12)]
    assert [f.decision for f in found].count(Decision.FAIL) == 0
    assert [f.decision for f in found].count(Decision.PASS) >= 4


@pytest.mark.parametrize(("of", "name"), NAMES)
def test_references_pass_against_each_other(of, name):
    found = finding(of, name)
    passed, count = found.null_passes
    assert count == references(of)
    assert passed >= 0.85 * count
    assert found.chance > 0.8
    assert found.null[0] <= 0 <= found.null[1]


@pytest.mark.parametrize(("of", "name"), LEAKS)
def test_a_planted_leak_fails(of, name):
    found = finding(of, name, memory=8.0 if of == "language" else 6.0)  # of half of the texts less comes back
    assert found.decision is Decision.FAIL
    worse = found.result.value > np.mean(found.result.references)
    assert worse == (found.result.better is Direction.LOWER)


@pytest.mark.parametrize(("of", "name"), DAMAGES)
def test_damage_fails(of, name):
    assert finding(of, name, damage=4.0).decision is Decision.FAIL


@pytest.mark.parametrize(("of", "name"), TOO_MUCH)
def test_forgetting_too_much_fails(of, name):
    # Labels pushed below what a model that never saw them would say: a trace of its own.
    assert finding(of, name, memory=-6.0, wrong=False).decision is Decision.FAIL
    assert finding(of, name, wrong=False).decision is Decision.PASS
