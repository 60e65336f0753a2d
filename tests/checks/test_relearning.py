import numpy as np
import pytest

from expunge.checks.relearning import Relearning
from expunge.core.chart import FEWEST, Role
from expunge.core.check import Direction, Question
from tests.support.evidence import table, votes


def passes(*counts, of=4):
    """Records that are right in the last so many passes, [passes, n]."""
    return np.array([[float(number >= of - count) for count in counts] for number in range(of)])


def test_the_area_under_the_curve_by_hand():
    # Two records, four passes: after how many passes each is right.
    right = {"c": (4, 3), "o": (4, 4), "r1": (2, 1), "r2": (2, 2), "r3": (1, 1)}
    relearned = {name: passes(*counts) for name, counts in right.items()}
    rows = {name: votes(0, 0) for name in relearned}
    found = Relearning().measure(table("forget", rows, [0, 0], relearned=relearned))
    assert found.value == 0.875
    assert found.original == 1.0
    assert found.references == pytest.approx((0.375, 0.5, 0.25))
    paired = np.array([1 - 1.25 / 3, 0.75 - 1 / 3])
    others = np.array([[0.5, 0.25], [0.5, 0.5], [0.25, 0.25]])
    apart = others - (others.sum(axis=0) - others) / 2
    assert paired.var(ddof=1) < 8 / 9 * apart.var(axis=1, ddof=1).mean(), "no more than seeds do"
    assert found.record_error == 0.0
    assert max(found.null_errors) > 0.0
    assert (found.unit, found.better) == ("share", Direction.LOWER), "memory relearns faster: a higher area"
    assert Relearning.question is Question.RECOVERABLE


def test_the_curve_is_accuracy_by_pass_and_its_mean_is_the_area():
    n = 10
    right = {"c": [4] * 5 + [0] * 5, "o": [4] * n, "r1": [1] * n, "r2": [0] * n, "r3": [2] * n}
    rows = {name: votes(*([1] * 8 + [0] * 2)) for name in right}
    relearned = {name: passes(*counts) for name, counts in right.items()}
    found = Relearning().measure(table("forget", rows, [0] * n, relearned=relearned))
    (chart,) = found.charts
    subject, original, references = chart.series
    assert [line.role for line in chart.series] == [Role.SUBJECT, Role.ORIGINAL, Role.REFERENCES]
    assert subject.x == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert subject.y == (0.2, 0.5, 0.5, 0.5, 0.5), "pass 0 is the model as it came"
    assert np.mean(subject.y[1:]) == found.value
    assert np.mean(original.y[1:]) == found.original
    assert (references.low, references.high) == ((0.2, 0, 0, 0, 0), (0.2, 0, 0, 1, 1))
    assert references.y[-1] == pytest.approx(2 / 3, abs=1e-4)
    assert chart.n == n


def test_no_curve_over_a_handful():
    n = FEWEST - 1
    right = {name: passes(*([2] * n)) + 0.01 * k for k, name in enumerate(("c", "o", "r1", "r2", "r3"))}
    rows = {name: votes(*([0] * n)) for name in right}
    assert Relearning().measure(table("forget", rows, [0] * n, relearned=right)).charts == ()
