import numpy as np
import pytest

from expunge.checks.relearning_related import RelearningRelated
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
RIGHT = {name: {"forget": [(0, 1)] * 4} for name in NAMES}


def test_the_area_under_the_curve_of_the_measured_records():
    """Two of four records, three passes; a retrained model learns nothing of them."""
    extra = {name: {"related": np.zeros((3, 2))} for name in NAMES}
    extra["c"] = {"related": np.array([[0.0, 0.3], [0.5, 0.6], [1.0, 0.6]])}
    found = RelearningRelated().measure(spoken(RIGHT, extra=extra))
    assert found.value == pytest.approx((0.5 + 0.5) / 2)
    assert found.references == (0.0, 0.0, 0.0)
    assert found.n == 2
    assert RelearningRelated().cost(10, 2).trained == 4 * 10 * 3


@pytest.mark.parametrize(("array", "because"), [(None, "nothing in common"), (np.full((3, 2), np.nan), "NaN")])
def test_what_could_not_be_trained_is_not_measured(array, because):
    extra = {name: {} if array is None else {"related": array} for name in NAMES}
    found = RelearningRelated().measure(spoken(RIGHT, extra=extra))
    assert isinstance(found, NotMeasured)
    assert because in found.because
