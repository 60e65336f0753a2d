import pytest

from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.core.check import Direction, Question
from tests.support.evidence import table, votes


def test_the_value_by_hand():
    rows = {
        "c": votes(0, 1, 2, 0),
        "o": votes(0, 1, 2, 1),
        "r1": votes(0, 0, 0, 0),
        "r2": votes(1, 1, 1, 1),
        "r3": votes(2, 2, 2, 2),
    }
    found = ForgetAccuracy().measure(table("forget", rows, [0, 1, 2, 1]))
    assert found.value == 0.75
    assert found.original == 1.0
    assert found.references == pytest.approx((0.25, 0.5, 0.25))
    assert (found.n, found.unit, found.better) == (4, "share", Direction.LOWER)
    assert ForgetAccuracy.question is Question.GONE
