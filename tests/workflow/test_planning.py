"""What the planner is told: references, passes, missing evidence."""

from dataclasses import replace

import pytest

from expunge.audit import policy as policies
from expunge.workflow.planning import declared_passes, plan_of, policy_of, reference_count
from expunge.workflow.settings import Settings
from tests.support import running
from tests.support.tiny import tiny_problem as tiny

POLICY = policies.load(running.TINY / "policy.toml")


@pytest.mark.parametrize(
    ("changes", "asked", "count"),
    [({}, None, 6), ({}, 3, 3), ({}, 0, 0), ({"trainer": None}, None, 0), ({"trainer": None}, 9, 0)],
)
def test_references(changes, asked, count):
    assert reference_count(tiny.make(**changes), Settings(references=asked), POLICY) == count


def test_passes_are_declared_or_unknown():
    assert declared_passes(tiny.make()) is None

    def trainer(records, *, seed): ...

    trainer.passes = 7
    assert declared_passes(tiny.make(trainer=trainer)) == 7.0


def test_costs_are_unknown_until_passes_are_known():
    unknown = plan_of(tiny.make(), Settings(), POLICY, passes=None)
    assert {option.share for option in unknown.options} == {None}
    known = plan_of(tiny.make(), Settings(), POLICY, passes=80)
    assert all(option.share is not None for option in known.options if option.planned)
    assert (known.references, known.choosing_references) == (6, 2)
    assert known.whole > 8


def test_missing_evidence_is_told():
    found = plan_of(tiny.make(holdout=None), Settings(), POLICY, passes=80)
    assert any("loss_membership" in line and "inconclusive" in line for line in found.advice)
    assert not any("inconclusive" in line for line in plan_of(tiny.make(), Settings(), POLICY, passes=80).advice)


def test_without_references_none_serve_choosing():
    assert plan_of(tiny.make(), Settings(references=0), POLICY, passes=80).choosing_references == 0


def test_the_task_has_a_policy_and_one_that_is_named_comes_first():
    problem = tiny.make()
    assert policy_of(problem, Settings()).name == "standard"
    texts = replace(problem, task="causal_lm")
    assert policy_of(texts, Settings()).name == "language"
    assert policy_of(texts, Settings(policy="quick")).name == "quick"
    assert "language" not in {
        seen.policy for seen in plan_of(problem, Settings(), policies.load(), passes=None).policies
    }
