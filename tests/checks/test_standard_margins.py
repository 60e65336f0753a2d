"""Every check with the margin that the standard policy gives it: what is said of true retrains, leaks and damage."""

from functools import cache

import numpy as np
import pytest

from expunge.audit import policy
from expunge.audit.judge import judge_one
from expunge.conformance.law import Law
from expunge.core import registry
from expunge.core.check import Direction, Question
from expunge.core.verdict import Decision

MARGINS = policy.load("standard").checks
NAMES = sorted(MARGINS)
LEAKS = [name for name in NAMES if registry.load("checks", name).question is not Question.INTACT]
DAMAGES = [name for name in NAMES if registry.load("checks", name).question is Question.INTACT]


@cache
def measured(name, seed=7, memory=0.0, damage=0.0, wrong=True):
    law = Law(wrong=wrong)
    return registry.load("checks", name)().measure(law.evidence(law.model(seed, memory=memory, damage=damage)))


def finding(name, **model):
    return judge_one(registry.load("checks", name), measured(name, **model), MARGINS[name], alpha=0.025, required=9)


def test_the_standard_policy_names_checks_that_exist():
    assert set(NAMES) <= set(registry.names("checks"))
    assert len(NAMES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_true_retrain_passes(name):
    found = [finding(name, seed=seed) for seed in range(7, 12)]
    assert [f.decision for f in found].count(Decision.FAIL) == 0
    assert [f.decision for f in found].count(Decision.PASS) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_references_pass_against_each_other(name):
    found = finding(name)
    passed, of = found.null_passes
    assert of == 20
    assert passed >= 17
    assert found.chance > 0.8
    assert found.null[0] < 0 < found.null[1]


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_fails(name):
    found = finding(name, memory=6.0)
    assert found.decision is Decision.FAIL
    worse = found.result.value > np.mean(found.result.references)
    assert worse == (found.result.better is Direction.LOWER)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_fails(name):
    assert finding(name, damage=4.0).decision is Decision.FAIL


@pytest.mark.parametrize("name", ["forget_accuracy", "loss_membership", "output_divergence"])
def test_forgetting_too_much_fails(name):
    # Labels pushed below what a model that never saw them would say: a trace of its own.
    assert finding(name, memory=-6.0, wrong=False).decision is Decision.FAIL
    assert finding(name, wrong=False).decision is Decision.PASS
