"""What would settle a check: tried against the rule that judges."""

from dataclasses import replace

import numpy as np
import pytest

from expunge.audit.judge import judge_one
from expunge.audit.needed import needed, sentence
from expunge.audit.policy import Margin
from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.core.check import Direction, Measurement
from expunge.core.verdict import Decision
from expunge.numerics import equivalence
from tests.support.evidence import table, votes

ALPHA = 0.05


def spread(count, sd):
    """Values of mean 0.5 and exactly this sample standard deviation."""
    values = np.linspace(-1, 1, count)
    return tuple(0.5 + sd * values / values.std(ddof=1))


def judged(*, count=5, sd=0.02, away=0.01, error=0.03, n=40, margin=0.08):
    references, value = spread(count, sd), 0.5 + away
    result = Measurement(
        check="forget_accuracy",
        value=value,
        references=references,
        original=None,
        interval=equivalence.difference(value, references, record_error=error, alpha=ALPHA),
        n=n,
        record_error=error,
        null_errors=(error,) * count,
        better=Direction.LOWER,
        unit="share",
    )
    return judge_one(ForgetAccuracy, result, Margin(margin=margin, reason="because"), alpha=ALPHA, required=1)


def test_as_many_references_as_it_says_would_pass_and_one_fewer_would_not():
    assert judged().decision is Decision.INCONCLUSIVE
    count = needed(judged()).references
    assert 5 < count < 100
    assert judged(count=count).decision is Decision.PASS
    assert judged(count=count - 1).decision is Decision.INCONCLUSIVE


def test_as_many_records_as_it_says_would_pass_and_a_tenth_fewer_would_not():
    found = judged(sd=0.01, error=0.04)
    records = needed(found).records
    assert records > found.result.n
    assert judged(sd=0.01, error=0.04 * (40 / records) ** 0.5).decision is Decision.PASS
    assert judged(sd=0.01, error=0.04 * (40 / (0.9 * records)) ** 0.5).decision is Decision.INCONCLUSIVE


def test_what_neither_would_settle():
    found = needed(judged(sd=0.06, error=0.06))
    assert (found.outside, found.references, found.records) == (False, None, None)


@pytest.mark.parametrize("away", [0.09, -0.09])
def test_a_difference_outside_the_margin_is_not_promised_a_pass(away):
    found = needed(judged(away=away))
    assert found.outside
    assert "neither more references nor more records" in sentence(judged(away=away), found)


@pytest.mark.parametrize("away", [0.15, -0.15])
def test_as_many_as_it_says_would_show_that_it_fails(away):
    assert judged(away=away).decision is Decision.INCONCLUSIVE
    found = needed(judged(away=away))
    assert judged(away=away, count=found.references).decision is Decision.FAIL
    assert judged(away=away, count=found.references - 1).decision is Decision.INCONCLUSIVE
    assert judged(away=away, error=0.03 * (40 / found.records) ** 0.5).decision is Decision.FAIL
    assert judged(away=away, error=0.03 * (40 / (0.9 * found.records)) ** 0.5).decision is Decision.INCONCLUSIVE


def test_what_is_settled_needs_nothing():
    assert needed(judged(error=0.0, sd=0.001)) is None
    assert needed(replace(judged(), decision=Decision.NOT_MEASURED)) is None


def all_right(*, count, n):
    """A model that is right on n forgotten records, as all of so many references are."""
    rows = {name: votes(*[0] * n) for name in ("c", "o", *(f"r{k}" for k in range(count)))}
    result = ForgetAccuracy().measure(table("forget", rows, [0] * n, alpha=ALPHA))
    return judge_one(ForgetAccuracy, result, Margin(margin=0.08, reason="because"), alpha=ALPHA, required=1)


@pytest.mark.parametrize(("count", "n"), [(3, 1), (20, 1), (5, 5), (3, 20)])
def test_few_answers_that_agree_are_inconclusive_and_say_what_they_need(count, n):
    found = all_right(count=count, n=n)
    assert found.decision is Decision.INCONCLUSIVE
    assert found.chance == 0.0
    wanted = needed(found)
    assert not wanted.outside
    assert all_right(count=wanted.references, n=n).decision is Decision.PASS
    assert all_right(count=wanted.references - 1, n=n).decision is Decision.INCONCLUSIVE
    assert all_right(count=count, n=wanted.records).decision is Decision.PASS
    assert all_right(count=count, n=wanted.records - 1).decision is Decision.INCONCLUSIVE


def test_enough_answers_that_agree_pass():
    assert all_right(count=20, n=5).decision is Decision.PASS
    assert all_right(count=5, n=20).decision is Decision.PASS


def test_what_lies_far_outside_is_not_said_to_lie_about_at_its_margin():
    """Few references allow hundreds of points either way: that does not make a large difference a small one."""
    for away, far in ((0.085, False), (0.48, True)):
        found = judged(count=3, sd=0.3, away=away, error=0.2, n=11)
        need = needed(found)
        assert need.outside
        if need.references is None and need.records is None:
            assert ("far outside" in sentence(found, need)) == far
            assert ("about at its margin" in sentence(found, need)) != far
    far = judged(count=3, sd=0.9, away=0.48, error=0.5, n=11)
    assert "far outside" in sentence(far, needed(far))
