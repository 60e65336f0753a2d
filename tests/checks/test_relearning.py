import numpy as np
import pytest

from expunge.checks.relearning import Relearning
from expunge.core.check import Direction, Question
from tests.support.evidence import table, votes


def test_the_area_under_the_curve_by_hand():
    # Two records, four passes: the share of passes after which each is right.
    relearned = {"c": [1.0, 0.75], "o": [1.0, 1.0], "r1": [0.5, 0.25], "r2": [0.5, 0.5], "r3": [0.25, 0.25]}
    rows = {name: votes(0, 0) for name in relearned}
    found = Relearning().measure(table("forget", rows, [0, 0], relearned=relearned))
    assert found.value == 0.875
    assert found.original == 1.0
    assert found.references == pytest.approx((0.375, 0.5, 0.25))
    paired = np.array([1 - 1.25 / 3, 0.75 - 1 / 3])
    assert found.record_error == pytest.approx(paired.std(ddof=1) / np.sqrt(2))
    assert (found.unit, found.better) == ("share", Direction.LOWER), "memory relearns faster: a higher area"
    assert Relearning.question is Question.RECOVERABLE
