import numpy as np
import pytest

from expunge.checks.restored_labels import RestoredLabels
from expunge.core.check import Direction, NotMeasured, Question
from tests.support.evidence import table, votes

ROWS = {"c": votes(1, 1, 0), "o": votes(0, 0, 0), "r1": votes(1, 2, 0), "r2": votes(1, 1, 1), "r3": votes(0, 2, 2)}


def test_the_true_labels_count_where_they_are_known():
    # The training labels are 0; the truth is 1 and 2, and unknown for the third.
    found = RestoredLabels().measure(table("forget", ROWS, [0, 0, 0], corrections=np.array([1, 2, -1])))
    assert found.value == 0.5
    assert found.original == 0.0
    assert found.references == pytest.approx((1.0, 0.5, 0.5))
    assert (found.n, found.unit, found.better) == (2, "share", Direction.HIGHER)
    assert RestoredLabels.question is Question.GONE


@pytest.mark.parametrize(
    ("corrections", "because"),
    [(None, "the request gives no true labels"), (np.array([-1, -1, -1]), "no record of the judging part qualifies")],
)
def test_without_true_labels_there_is_no_number(corrections, because):
    found = RestoredLabels().measure(table("forget", ROWS, [0, 0, 0], corrections=corrections))
    assert found == NotMeasured(check="restored_labels", because=because) or found.because == because
    assert isinstance(found, NotMeasured)
