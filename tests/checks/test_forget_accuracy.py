import pytest

from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.core.check import Direction, Question
from tests.support.evidence import spoken, table, votes


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
    assert found.details == {}, "classes have no best known tenth"
    assert ForgetAccuracy.question is Question.GONE


def test_of_texts_the_best_known_ones_stand_beside_the_mean():
    """One of thirty answers is known by heart, of two tokens of which retrained models say one."""
    half, known = [(0, 1)] * 30, [(1, 1)] + [(0, 1)] * 29
    right = {"c": known, "o": [(1, 1)] * 30, "r1": half, "r2": half, "r3": half}
    found = ForgetAccuracy().measure(spoken({name: {"forget": rows, "holdout": half} for name, rows in right.items()}))
    assert found.value == pytest.approx(0.5 + 0.5 / 30)
    assert found.details == {
        "beyond retrained models, the best known tenth": "0.050 (references 0.000 to 0.000)",
        "beyond retrained models, the best known record": "0.500 (references 0.000 to 0.000)",
        "records beyond what unseen text shows": "1 of 30, above 0.50 (references 0 to 0)",
    }
