import pytest

from expunge.checks.neighbour_accuracy import NeighbourAccuracy
from expunge.core.check import Direction, NotMeasured, Question
from tests.support.evidence import table, votes


def test_the_value_by_hand():
    rows = {"c": votes(0, 1), "o": votes(0, 0), "r1": votes(0, 0), "r2": votes(0, 1), "r3": votes(1, 0)}
    found = NeighbourAccuracy().measure(table("neighbours", rows, [0, 1]))
    assert (found.value, found.original) == (1.0, 0.5)
    assert found.references == pytest.approx((0.5, 1.0, 0.0))
    assert (found.unit, found.better) == ("share", Direction.HIGHER)
    assert NeighbourAccuracy.question is Question.INTACT


def test_other_retained_records_do_not_stand_in():
    rows = {name: votes(0, 1) for name in ("c", "o", "r1", "r2", "r3")}
    assert isinstance(NeighbourAccuracy().measure(table("retain", rows, [0, 1])), NotMeasured)
