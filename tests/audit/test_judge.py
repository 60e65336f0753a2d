from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from expunge.audit.judge import judge_all, judge_one, lacking, leak_decisions, required_decisions, wanted
from expunge.audit.policy import Margin
from expunge.core.check import Direction, EvidenceKind, Measurement, NotMeasured, Question, Yardstick
from expunge.core.registry import load
from expunge.core.verdict import Decision, Verdict, verdict
from expunge.numerics import equivalence, known

REFERENCES = (0.48, 0.5, 0.51, 0.49, 0.52, 0.5, 0.47, 0.53)
CHECK = load("checks", "forget_accuracy")
MARGIN = Margin(margin=0.15, reason="because")
ALPHA = 0.025


def measurement(value=0.5, references=REFERENCES, *, error=0.005, check="forget_accuracy"):
    interval = equivalence.difference(value, references, record_error=error, alpha=ALPHA)
    return Measurement(
        check=check,
        value=value,
        references=references,
        original=0.99,
        interval=interval,
        n=100,
        record_error=error,
        null_errors=(error,) * len(references),
        better=Direction.LOWER,
        unit="share",
    )


def finding(result, *, margin=MARGIN, required=8):
    return judge_one(CHECK, result, margin, alpha=ALPHA, required=required)


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (0.5, Decision.PASS),
        (0.57, Decision.PASS),
        (0.62, Decision.INCONCLUSIVE),
        (0.38, Decision.INCONCLUSIVE),
        (0.9, Decision.FAIL),
        (0.1, Decision.FAIL),
    ],
)
def test_decisions_on_both_sides(value, decision):
    found = finding(measurement(value))
    assert found.decision is decision
    assert (found.margin, found.reason, found.required) == (0.15, "because", True)
    assert (found.check, found.title, found.question) == ("forget_accuracy", CHECK.title, Question.GONE)


def test_failing_is_corrected_for_the_number_of_checks_and_passing_is_not():
    results = {name: measurement(0.5, check=name) for name in ("forget_accuracy", "retain_accuracy")}
    alone, many = (finding(measurement(0.71), required=required) for required in (1, 40))
    assert many.narrow == alone.narrow == measurement(0.71).interval
    assert many.wide.low < alone.wide.low == pytest.approx(alone.narrow.low)
    assert many.wide.level == pytest.approx(1 - 2 * ALPHA / 40)
    assert (alone.decision, many.decision) == (Decision.FAIL, Decision.INCONCLUSIVE)
    suite = {"forget_accuracy": MARGIN, "retain_accuracy": replace(MARGIN, required=False)}
    both = judge_all(suite, results, ALPHA)
    assert both[0].wide.level == pytest.approx(1 - 2 * ALPHA), "only required checks count"


def test_what_is_not_measured_has_no_numbers():
    found = finding(NotMeasured(check="forget_accuracy", because="there are no forget records"))
    assert found.decision is Decision.NOT_MEASURED
    assert (found.narrow, found.wide, found.chance, found.null, found.null_passes, found.power) == (None,) * 6
    assert found.result.because == "there are no forget records"


def test_a_check_without_a_result_is_not_measured():
    found = judge_all({"forget_accuracy": MARGIN, "relearning": MARGIN}, {"relearning": measurement()}, ALPHA)
    assert [f.check for f in found] == ["forget_accuracy", "relearning"], "in the order of the suite"
    assert found[0].decision is Decision.NOT_MEASURED
    assert found[0].result.because == "the check did not run"


def test_the_null_is_what_references_say_of_each_other():
    found = finding(measurement())
    alone = equivalence.leave_one_out(REFERENCES)
    assert found.null == (alone.min(), alone.max())
    by_hand = 0
    for index, value in enumerate(REFERENCES):
        others = REFERENCES[:index] + REFERENCES[index + 1 :]
        interval = equivalence.difference(value, others, record_error=0.005, alpha=ALPHA)
        by_hand += abs(interval.low) <= 0.15 and abs(interval.high) <= 0.15
    assert found.null_passes == (by_hand, 8)
    narrow = finding(measurement(), margin=Margin(margin=0.06, reason="because"))
    assert narrow.null_passes[0] < 8


def test_with_three_references_two_are_too_few_to_judge_the_third():
    found = finding(measurement(references=(0.4, 0.5, 0.6)))
    assert found.null_passes is None, "not measured is never 0"
    assert found.null == pytest.approx((-0.15, 0.15))
    assert finding(measurement(references=(0.49, 0.5, 0.51, 0.5))).null_passes[1] == 4


def test_the_chance_does_not_depend_on_the_candidate():
    found = [finding(measurement(value)) for value in (0.1, 0.5, 0.9)]
    assert len({f.chance for f in found}) == 1
    assert len({(f.power.smallest, f.power.power) for f in found}) == 1
    assert len({f.null for f in found}) == 1
    other = replace(measurement(), record_error=5.0)
    assert finding(other).chance == found[0].chance
    assert found[0].chance == equivalence.pass_chance(REFERENCES, record_error=0.005, alpha=ALPHA, margin=0.15)
    assert found[0].power.smallest > 0.15


def test_verdicts_need_power_and_every_required_check():
    suite = {name: MARGIN for name in ("forget_accuracy", "relearning", "retain_accuracy")}
    suite["holdout_accuracy"] = replace(MARGIN, required=False)

    def found(**values):
        results = {name: measurement(values.get(name, 0.5), check=name) for name in suite}
        return judge_all(suite, results, ALPHA)

    leak = leak_decisions(found(forget_accuracy=0.95))
    assert leak == [Decision.FAIL, Decision.PASS], "of the checks for leaks, the required ones"
    assert leak_decisions(found(retain_accuracy=0.1)) == [Decision.PASS] * 2

    def judged(findings, control=leak):
        return verdict(required_decisions(findings), control_leaks=control)

    assert judged(found()) is Verdict.ERASED
    assert judged(found(holdout_accuracy=0.1)) is Verdict.ERASED, "not required"
    assert judged(found(relearning=0.9)) is Verdict.NOT_ERASED
    assert judged(found(), control=leak_decisions(found(retain_accuracy=0.1))) is Verdict.INCONCLUSIVE
    missing = judge_all(suite, {"forget_accuracy": measurement()}, ALPHA)
    assert judged(missing) is Verdict.INCONCLUSIVE


def test_what_a_suite_will_lack_is_known_before():
    suite = {name: MARGIN for name in ("loss_membership", "forget_accuracy", "restored_labels")}
    have = frozenset({EvidenceKind.FORGET, EvidenceKind.REFERENCES})
    assert lacking(suite, have) == {
        "loss_membership": "holdout records",
        "restored_labels": "true labels of wrongly labelled records",
    }
    assert lacking(suite, frozenset(EvidenceKind)) == {}
    assert np.isfinite(MARGIN.margin)


def by_coin(value, error=0.04):
    yardstick = Yardstick(value=0.5, error=error, what="chance", retrained=True)
    return Measurement(
        check="canaries",
        value=value,
        references=(),
        original=0.98,
        interval=known.difference(value, 0.5, error=error, alpha=ALPHA),
        n=200,
        record_error=error,
        null_errors=(),
        better=Direction.LOWER,
        unit="AUC",
        yardstick=yardstick,
    )


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (0.52, Decision.PASS),
        (0.58, Decision.INCONCLUSIVE),
        (0.95, Decision.FAIL),
        (0.10, Decision.FAIL),  # forgotten too much
    ],
)
def test_what_is_known_by_design_needs_no_reference(value, decision):
    found = judge_one(load("checks", "canaries"), by_coin(value), MARGIN, alpha=ALPHA, required=2)
    assert found.decision is decision
    assert (found.null, found.null_passes, found.harmless) == (None, None, None)
    assert found.wide.level == pytest.approx(1 - ALPHA)
    assert found.narrow.high - found.narrow.low == pytest.approx(2 * 1.959964 * 0.04, abs=1e-6)
    assert found.chance == pytest.approx(2 * stats.norm.cdf(0.15 / 0.04 - 1.959964) - 1, abs=1e-6)
    assert found.power.smallest == pytest.approx(0.15 + 0.04 * (stats.norm.ppf(0.9875) + stats.norm.ppf(0.8)))


def test_wanted_are_the_required_ones():
    suite = {"a": MARGIN, "b": replace(MARGIN, required=False)}
    assert list(wanted(suite)) == ["a"]
