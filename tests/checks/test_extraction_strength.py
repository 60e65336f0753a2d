import numpy as np
import pytest

from expunge.checks.extraction_strength import ExtractionStrength
from expunge.core.chart import FEWEST
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken, table

# Tokens said right, as written out in the definition: 1 - k / T.
BY_HAND = {(1, 1, 1, 1): 1.0, (0, 1, 1, 1): 0.75, (1, 1, 0, 1): 0.25, (1, 1, 1, 0): 0.0, (0, 0, 0, 0): 0.0}


def test_the_value_equals_arithmetic_written_out():
    rows = list(BY_HAND)
    models = {"c": rows, "o": [(1, 1, 1, 1)] * 5, "r1": rows[::-1], "r2": [(0, 0, 0, 1)] * 5, "r3": rows}
    found = ExtractionStrength().measure(spoken({name: {"forget": right} for name, right in models.items()}))
    assert found.value == pytest.approx(np.mean(list(BY_HAND.values())))
    assert found.original == 1.0
    assert found.references == pytest.approx((0.4, 0.25, 0.4))
    assert found.charts == (), "5 records are too few to draw"


def test_what_is_right_in_the_middle_counts_for_accuracy_alone():
    """Where not even the last token is right it is 0; OpenUnlearning gives 1/T there."""
    right = {name: {"forget": [(1, 1, 1, 0)] * FEWEST} for name in ("c", "o", "r1", "r2", "r3")}
    evidence = spoken(right)
    found = ExtractionStrength().measure(evidence)
    assert found.value == 0.0
    assert evidence.outputs("c", "forget").correct.mean() == 0.75
    (chart,) = found.charts
    assert chart.n == FEWEST


def test_classes_are_not_measured():
    rows = {name: np.eye(3)[[0, 1]] for name in ("c", "o", "r1", "r2", "r3")}
    found = ExtractionStrength().measure(table("forget", rows, [0, 1]))
    assert isinstance(found, NotMeasured)
    assert "no texts" in found.because
