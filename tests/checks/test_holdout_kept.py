"""Accuracy beside that of the original: paired, and only a loss is a failure."""

import numpy as np
import pytest

from expunge.audit.judge import judge_one
from expunge.audit.policy import Margin
from expunge.checks.holdout_kept import HoldoutKept
from expunge.core import registry
from expunge.core.check import Direction, Measurement, NotMeasured
from expunge.core.verdict import Decision
from tests.support.evidence import table, votes


def judged(candidate, original, labels, margin=0.1):
    evidence = table("holdout", {"c": votes(*candidate), "o": votes(*original)}, labels)
    result = HoldoutKept().measure(evidence)
    check = registry.load("checks", "holdout_kept")
    return result, judge_one(check, result, Margin(margin=margin, reason="because"), alpha=0.05, required=2)


LABELS = [0, 1, 2, 0] * 50


def test_the_difference_is_paired_by_record():
    """20 records lost and 10 won of 200: difference -.05, error sqrt((30/200 - .05^2) / 199 + 3 / 200^2)."""
    original, candidate = list(LABELS), list(LABELS)
    original[:10] = [(label + 1) % 3 for label in LABELS[:10]]
    candidate[10:30] = [(label + 1) % 3 for label in LABELS[10:30]]
    result, _ = judged(candidate, original, LABELS)
    assert isinstance(result, Measurement)
    assert (result.value, result.yardstick.value) == (0.9, 0.95)
    assert result.record_error == pytest.approx(np.sqrt((30 / 200 - 0.05**2) / 199 + 3 / 200**2))
    assert not result.yardstick.retrained


def test_being_better_is_no_failure_and_worse_is():
    wrong = [(label + 1) % 3 for label in LABELS]
    half = [*LABELS[:100], *wrong[100:]]
    _, better = judged(LABELS, half, LABELS)
    assert (better.decision, better.harmless) == (Decision.PASS, Direction.HIGHER)
    _, worse = judged(half, LABELS, LABELS)
    assert worse.decision is Decision.FAIL
    slight = [*LABELS[:180], *wrong[180:]]
    _, open_ = judged(slight, LABELS, LABELS)
    assert open_.decision is Decision.INCONCLUSIVE
    assert open_.chance is None, "nobody knows what retraining would cost"


def test_the_original_itself_passes():
    _, same = judged(LABELS, LABELS, LABELS)
    assert same.decision is Decision.PASS


def test_without_holdout_nothing_is_measured():
    evidence = table("forget", {"c": votes(0, 1), "o": votes(0, 1)}, [0, 1])
    assert isinstance(HoldoutKept().measure(evidence), NotMeasured)
