"""What would settle a check: tried against the rule that judges."""

from dataclasses import replace

import numpy as np
import pytest

from expunge.audit.judge import judge_one
from expunge.audit.needed import needed
from expunge.audit.policy import Margin
from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.core.check import Direction, Measurement
from expunge.core.verdict import Decision
from expunge.numerics import equivalence

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
    assert (found.outside, found.references, found.records) == (True, None, None)


def test_what_is_settled_needs_nothing():
    assert needed(judged(error=0.0, sd=0.001)) is None
    assert needed(replace(judged(), decision=Decision.NOT_MEASURED)) is None
