import math

import numpy as np
import pytest
from scipy import stats

from expunge.checks.worst_class_accuracy import WorstClassAccuracy
from expunge.core.check import Direction, Question
from expunge.numerics.equivalence import beyond_seeds
from tests.support.evidence import table, votes

LABELS = [0, 0, 0, 0, 1, 1]
ROWS = {
    "c": votes(0, 0, 0, 0, 1, 0),
    "o": votes(0, 0, 0, 0, 1, 1),
    "r1": votes(0, 0, 1, 0, 1, 1),
    "r2": votes(0, 0, 0, 0, 1, 0),
    "r3": votes(0, 1, 0, 1, 1, 1),
}


def test_the_value_is_the_lowest_class_by_hand():
    found = WorstClassAccuracy().measure(table("holdout", ROWS, LABELS))
    assert found.value == 0.5
    assert found.original == 1.0
    assert found.references == pytest.approx((0.75, 0.5, 0.5))
    assert found.details == {"records in the smallest class": "2"}
    assert (found.n, found.unit, found.better) == (6, "share", Direction.HIGHER)
    assert WorstClassAccuracy.question is Question.INTACT


def test_the_record_error_is_that_of_the_least_certain_class():
    found = WorstClassAccuracy().measure(table("holdout", ROWS, LABELS))
    right = {name: (logits.argmax(1) == LABELS).astype(float) for name, logits in ROWS.items()}
    names = ("r1", "r2", "r3")

    def error(part):
        """Of one class: what seeds do not explain, and one record that was not seen to differ."""
        away = {m: right[m] - np.mean([right[o] for o in names if o != m], axis=0) for m in ("c", *names)}
        left = beyond_seeds({m: stats.sem(row[part]) for m, row in away.items()}, names)["c"]
        return math.hypot(left, 1 / len(LABELS[part]))

    assert found.record_error == pytest.approx(max(error(slice(4)), error(slice(4, None))))


def test_damage_to_one_class_does_not_hide_in_the_mean():
    labels = np.repeat([0, 1, 2], [90, 90, 20])
    good, bad = np.eye(3)[labels], np.eye(3)[np.where(labels == 2, 0, labels)]
    rows = {"c": bad, "o": good, "r1": good, "r2": good, "r3": good}
    assert WorstClassAccuracy().measure(table("holdout", rows, labels)).value == 0.0
