"""What holds for every check, found by discovery: what it says of a true retrain, of the original, of nothing."""

from functools import cache

import numpy as np
import pytest

from expunge.audit import policy
from expunge.audit.judge import judge_one
from expunge.core import registry
from expunge.core.check import Direction, EvidenceKind, Interval, Measurement, NotMeasured, Question
from expunge.core.method import Cost
from expunge.core.verdict import Decision
from tests.support.evidence import SIZES, Law

NAMES = registry.names("checks")
MARGINS = policy.load("standard").checks
LEAKS = [name for name in NAMES if registry.load("checks", name).question is not Question.INTACT]
DAMAGES = [name for name in NAMES if registry.load("checks", name).question is Question.INTACT]
PART_OF = {
    EvidenceKind.FORGET: "forget",
    EvidenceKind.RETAIN: ("retain", "neighbours"),
    EvidenceKind.HOLDOUT: "holdout",
}


@cache
def measured(name, seed=7, memory=0.0, damage=0.0, wrong=True):
    law = Law(wrong=wrong)
    return registry.load("checks", name)().measure(law.evidence(law.model(seed, memory=memory, damage=damage)))


def finding(name, **model):
    return judge_one(registry.load("checks", name), measured(name, **model), MARGINS[name], alpha=0.025, required=9)


def test_every_check_stands_in_the_standard_policy():
    assert set(NAMES) == set(MARGINS)
    assert len(NAMES) >= 9


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
def test_a_planted_leak_is_found(name):
    found = finding(name, memory=6.0)
    assert found.decision is Decision.FAIL
    worse = found.result.value > np.mean(found.result.references)
    assert worse == (found.result.better is Direction.LOWER), "the declared direction is the true one"


@pytest.mark.parametrize("name", [name for name in LEAKS if name != "relearning"])
def test_the_original_is_measured_beside(name):
    found = measured(name)
    assert found.original == pytest.approx(measured(name, seed=1, memory=6.0).value)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(name):
    found = finding(name, damage=4.0)
    assert found.decision is Decision.FAIL
    assert found.result.value < np.mean(found.result.references)
    assert found.result.better is Direction.HIGHER


@pytest.mark.parametrize("name", ["forget_accuracy", "loss_membership", "output_divergence"])
def test_forgetting_too_much_is_found(name):
    # Labels pushed below what a model that never saw them would say: a trace of its own.
    found = finding(name, memory=-6.0, wrong=False)
    assert found.decision is Decision.FAIL
    assert finding(name, wrong=False).decision is Decision.PASS


@pytest.mark.parametrize("name", NAMES)
def test_missing_records_are_said_and_never_a_number(name):
    check = registry.load("checks", name)
    law = Law()
    for kind in check.needs & PART_OF.keys():
        lacking = tuple(part for part in SIZES if part not in np.atleast_1d(PART_OF[kind]))
        found = check().measure(law.evidence(law.model(7), references=3, parts=lacking))
        assert isinstance(found, NotMeasured)
        assert found.check == name
        assert "records" in found.because


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_is_whole(name):
    found, check = measured(name), registry.load("checks", name)
    assert isinstance(found, Measurement)
    assert (found.check, found.better, found.unit, found.cannot_see) == (
        name,
        check.better,
        check.unit,
        check.cannot_see,
    )
    assert found.unit in {"share", "AUC", "bits"}
    assert len(found.references) == len(found.null_errors) == 20
    assert isinstance(found.interval, Interval)
    assert found.interval.low < found.value - np.mean(found.references) < found.interval.high
    assert found.interval.level == pytest.approx(0.95)
    assert found.n > 0
    assert found.record_error > 0
    numbers = [found.value, found.original, found.record_error, *found.references, *found.null_errors]
    assert np.isfinite(numbers).all()
    assert all(type(number) is float for number in numbers), "plain numbers, ready for JSON"


@pytest.mark.parametrize("name", NAMES)
def test_what_it_is_and_costs_is_declared(name):
    check = registry.load("checks", name)
    assert check.title
    assert check.source
    assert check.cannot_see
    assert EvidenceKind.REFERENCES in check.needs
    cost, more = check().cost(100, 20), check().cost(200, 20)
    assert isinstance(cost, Cost)
    assert cost.trained + cost.read > 0
    assert (more.trained, more.read) == (2 * cost.trained, 2 * cost.read)
