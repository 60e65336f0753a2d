import numpy as np
import pytest

from expunge.checks.relearning_unrelated import RelearningUnrelated
from expunge.core.check import NotMeasured, Question
from expunge.engine.treatments import OTHERS
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
RIGHT = {name: {"forget": [(0, 1)] * 2} for name in NAMES}


def test_the_area_under_the_curve_of_the_forgotten_records():
    extra = {name: {OTHERS: np.zeros((3, 2))} for name in NAMES}
    extra["c"] = {OTHERS: np.array([[0.0, 0.3], [0.5, 0.6], [1.0, 0.6]])}
    found = RelearningUnrelated().measure(spoken(RIGHT, extra=extra))
    assert found.value == pytest.approx(0.5)
    assert found.references == (0.0, 0.0, 0.0)
    assert found.n == 2
    assert RelearningUnrelated.question is Question.RECOVERABLE
    few, work = RelearningUnrelated().cost(10, 2), RelearningUnrelated().cost(50, 2)
    assert (few.trained, few.read) == (4 * 10 * 3, 4 * 20 * 3)
    assert (work.trained, work.read) == (4 * 40 * 3, 4 * 90 * 3)


@pytest.mark.parametrize(("array", "because"), [(None, "answer"), (np.full((3, 2), np.nan), "NaN")])
def test_what_could_not_be_trained_is_not_measured(array, because):
    extra = {name: {} if array is None else {OTHERS: array} for name in NAMES}
    found = RelearningUnrelated().measure(spoken(RIGHT, extra=extra))
    assert isinstance(found, NotMeasured)
    assert because in found.because
