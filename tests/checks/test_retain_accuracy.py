import pytest

from expunge.checks.retain_accuracy import RetainAccuracy
from expunge.core.check import Direction, Question
from tests.support.evidence import table, votes


def test_the_value_by_hand():
    rows = {"c": votes(0, 1), "o": votes(0, 0), "r1": votes(0, 0), "r2": votes(0, 1), "r3": votes(1, 0)}
    found = RetainAccuracy().measure(table("retain", rows, [0, 1]))
    assert found.value == 1.0
    assert found.original == 0.5
    assert found.references == pytest.approx((0.5, 1.0, 0.0))
    assert (found.n, found.unit, found.better) == (2, "share", Direction.HIGHER)
    assert RetainAccuracy.question is Question.INTACT
