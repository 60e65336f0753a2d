"""Each rule is broken once in a report that otherwise hangs together."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from expunge.certify._intervals import recomputed, same
from expunge.certify.recheck import contradictions
from expunge.core.check import Direction, Interval, Question, Yardstick
from expunge.core.level import Level
from expunge.core.verdict import Decision, Verdict
from tests.support.reports import GONE, LEAKS, STILL_THERE, UNCLEAR, attempt, finding, report


def with_audit(made, place=0, **changes):
    """The report with its only attempt's audit at ``place`` changed."""
    (only,) = made.attempts
    audits = tuple(replace(a, **changes) if i == place else a for i, a in enumerate(only.audits))
    return replace(made, attempts=(replace(only, audits=audits),))


def with_attempt(made, **changes):
    (only,) = made.attempts
    return replace(made, attempts=(replace(only, **changes),))


def with_interval(made, **changes):
    """The report with intervals of its first finding changed, consistently but for the values."""
    first, *rest = made.attempts[0].audits[0].findings
    if "narrow" in changes:
        first = replace(first, result=replace(first.result, interval=changes["narrow"]))
    return with_audit(made, findings=(replace(first, **changes), *rest))


def with_value(made, **changes):
    first, *rest = made.attempts[0].audits[0].findings
    return with_audit(made, findings=(replace(first, result=replace(first.result, **changes)), *rest))


ERASED = report()
SOUND = {
    "erased": ERASED,
    "nothing ships": report(attempt(STILL_THERE), chosen=None),
    "escalated": report(attempt(STILL_THERE), attempt(GONE, number=2), chosen=2),
    "unclear": report(attempt(UNCLEAR), chosen=None),
    "suite without power": report(attempt(GONE, control=GONE), control=GONE, chosen=None),
    "no control": replace(report(attempt(GONE, control=()), chosen=None), control=None),
    "exact, unclear": report(attempt(UNCLEAR, guarantee=Level.EXACT)),
    "exact, contradicted once": report(attempt(STILL_THERE, GONE, guarantee=Level.EXACT)),
    "exact, contradicted twice": report(attempt(STILL_THERE, STILL_THERE, guarantee=Level.EXACT)),
    "exact, never judged": report(attempt(guarantee=Level.EXACT), verdict=Verdict.INCONCLUSIVE),
    "the first attempt failed": report(
        replace(attempt(guarantee=Level.EXACT), model="", claim=None), attempt(GONE, number=2), chosen=2
    ),
    "an attempt was begun and given up": report(attempt(GONE, number=2), chosen=2),
    "judged, but not ours to ship": replace(ERASED, chosen=None, model_after=None),
    "not measured": report(attempt((finding(decision=Decision.NOT_MEASURED),)), chosen=None),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_report_has_no_contradictions(name):
    assert contradictions(SOUND[name]) == []


LIE = finding(decision=Decision.FAIL)
BROKEN = {
    "a decision": (
        with_audit(ERASED, findings=(replace(LIE, decision=Decision.PASS),)),
        "The decision of forget_loss on attempt 1 does not follow",
    ),
    "a decision without measurement": (
        with_audit(ERASED, findings=(replace(finding(decision=Decision.NOT_MEASURED), decision=Decision.PASS),)),
        "The decision of forget_loss on attempt 1 does not follow",
    ),
    "a decision without interval": (
        with_audit(ERASED, findings=(replace(finding(), narrow=None),)),
        "The decision of forget_loss on attempt 1 does not follow",
    ),
    "a decision on the control": (
        replace(ERASED, control=replace(ERASED.control, findings=(replace(finding(), decision=Decision.FAIL),))),
        "The decision of forget_loss on the original does not follow",
    ),
    "a verdict": (
        with_audit(ERASED, findings=STILL_THERE),
        "The verdict on attempt 1, erased, does not follow",
    ),
    "a verdict without checks": (with_audit(ERASED, findings=()), "The verdict on attempt 1"),
    "a verdict on what is not required": (
        with_audit(ERASED, findings=(finding(required=False),)),
        "The verdict on attempt 1",
    ),
    "a verdict without power": (
        replace(ERASED, control=replace(ERASED.control, findings=GONE)),
        "The verdict on",
    ),
    "a verdict without control": (replace(ERASED, control=None), "The verdict on attempt 1, erased,"),
    "a power of the wrong kind": (
        replace(ERASED, control=replace(ERASED.control, findings=(replace(LEAKS[0], question=LEAKS[1].question),))),
        "The verdict on attempt 1, erased,",
    ),
    "a failure hidden from an exact method": (
        with_audit(report(attempt(STILL_THERE, guarantee=Level.EXACT)), verdict=Verdict.INCONCLUSIVE),
        "The verdict on attempt 1, inconclusive,",
    ),
    "a second verdict": (
        with_audit(report(attempt(STILL_THERE, STILL_THERE, guarantee=Level.EXACT)), 1, verdict=Verdict.ERASED),
        "The verdict on attempt 1, erased,",
    ),
    "a claim above the guarantee": (
        with_attempt(ERASED, claim=Level.EXACT),
        "The claim of attempt 1 does not",
    ),
    "a claim on a failure": (
        with_attempt(report(attempt(STILL_THERE)), claim=Level.AUDITED),
        "The claim of attempt 1 does not follow",
    ),
    "a claim of the report": (replace(ERASED, claim=Level.BITWISE), "The claim of the report is not"),
    "another model judged": (with_audit(ERASED, model="99" * 32), "The model that was judged in attempt 1"),
    "another model shipped": (replace(ERASED, model_after="99" * 32), "The model of the report is not"),
    "a verdict of the report": (replace(ERASED, verdict=Verdict.INCONCLUSIVE), "The verdict of the report"),
    "attempts out of order": (
        report(attempt(GONE, number=2), attempt(STILL_THERE), chosen=2),
        "The attempts are not numbered in order",
    ),
    "an attempt twice": (
        report(attempt(GONE), attempt(STILL_THERE)),
        "The attempts are not numbered in order",
    ),
    "an attempt zero": (report(attempt(number=0, guarantee=Level.EXACT), chosen=0), "not numbered in order"),
    "a claim on a method that failed": (
        with_attempt(report(attempt(guarantee=Level.EXACT)), model=""),
        "The claim of attempt 1 does not follow",
    ),
    "a power of what is not required": (
        replace(ERASED, control=replace(ERASED.control, findings=(replace(LEAKS[0], required=False),))),
        "The verdict on attempt 1, erased,",
    ),
    "a narrower interval": (
        with_interval(ERASED, narrow=Interval(-0.01, 0.01, 0.95)),
        "The interval of forget_loss on attempt 1 does not follow from its values",
    ),
    "an interval of a higher rate": (
        with_audit(ERASED, findings=attempt(GONE, number=2).audits[0].findings),
        "The interval of forget_loss on attempt 1 does not follow from its values",
    ),
    "a failure made of fewer checks": (
        with_interval(ERASED, wide=ERASED.attempts[0].audits[0].findings[0].narrow),
        "The interval of forget_loss on attempt 1 does not follow from its values",
    ),
    "values nearer to the references": (
        with_value(report(attempt(STILL_THERE), chosen=None), value=1.0),
        "The interval of forget_loss on attempt 1 does not follow from its values",
    ),
    "references farther apart": (
        with_value(ERASED, references=(0.8, 1.0, 1.2)),
        "The interval of forget_loss on attempt 1 does not follow from its values",
    ),
    "a larger error over records": (with_value(ERASED, record_error=0.05), "The interval of forget_loss on attempt 1"),
    "a rate that is not a half of the original's": (
        report(replace(attempt(GONE), number=2), chosen=2),
        "not judged at halving error rates",
    ),
    "a rate not halved": (
        report(attempt(STILL_THERE), replace(attempt(GONE), number=2), chosen=2),
        "not judged at halving error rates",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_named(name):
    made, expected = BROKEN[name]
    assert any(expected in sentence for sentence in contradictions(made)), contradictions(made)


@pytest.mark.parametrize("references", [2, 3, 4, 7, 20, 101])
@pytest.mark.parametrize("alpha", [0.25, 0.025, 1e-5])
def test_intervals_are_those_of_the_audit(references, alpha):
    """Against SciPy's quantiles, by which the audit goes."""
    values = [math.sin(k) for k in range(references)]
    result = replace(finding().result, value=0.4, references=tuple(values), record_error=0.3, seed_scale=1.5)
    error = 1.5 * np.std(values, ddof=1) * math.sqrt(1 + 1 / references)
    half = stats.t.ppf(1 - alpha, references - 1) * math.hypot(error, 0.3)
    found = recomputed(result, alpha)
    assert (found.low, found.high) == pytest.approx((0.4 - np.mean(values) - half, 0.4 - np.mean(values) + half))
    designed = replace(result, references=(), yardstick=Yardstick(value=0.5, error=0.1, what="a coin", retrained=True))
    found, half = recomputed(designed, alpha), stats.norm.ppf(1 - alpha) * 0.3
    assert (found.low, found.high) == pytest.approx((-0.1 - half, -0.1 + half))


def test_only_what_is_intact_may_leave_a_side_open():
    """A check of what is gone that fails above its margin is not saved by calling that side harmless."""
    lie = replace(finding(decision=Decision.FAIL), decision=Decision.PASS, harmless=Direction.HIGHER)
    assert any("forget_loss" in line for line in contradictions(with_audit(ERASED, findings=(lie,))))
    honest = replace(lie, question=Question.INTACT)
    assert not any("forget_loss" in line for line in contradictions(with_audit(ERASED, findings=(honest,))))


def test_an_interval_narrower_than_the_rounding_of_its_values_is_no_contradiction():
    """Values that agree to the last bits: another order of summing moves the centre by more than the width."""
    told = Interval(-1e-14, 1e-14, 0.95)
    other = Interval(-1e-14 + 4e-16, 1e-14 + 4e-16, 0.95)
    assert not same(told, other)
    assert same(told, other, scale=1000.0)
    assert not same(told, Interval(-0.1, 0.1, 0.95), scale=1000.0)
