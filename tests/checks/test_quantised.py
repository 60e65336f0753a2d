import numpy as np
import pytest

from expunge.checks.quantised import Quantised
from expunge.core.check import NotMeasured, Question
from tests.support.evidence import said, spoken

NAMES = ("c", "o", "r1", "r2", "r3")


def flat(rows):
    right = np.concatenate([np.asarray(row, float) for row in rows])
    return said(right, np.where(right > 0, np.log(0.9), np.log(0.1)))


def test_the_larger_of_both_widths_record_by_record():
    rows = [(0, 0, 0, 0), (0, 0, 0, 1)]
    eight, four = [(0, 0, 1, 1), (0, 0, 0, 1)], [(0, 0, 0, 1), (1, 1, 1, 1)]
    extra = {name: {"8 bits": flat(rows), "4 bits": flat(rows)} for name in NAMES}
    extra["c"] = {"8 bits": flat(eight), "4 bits": flat(four)}
    found = Quantised().measure(spoken({name: {"forget": rows} for name in NAMES}, extra=extra))
    assert found.value == pytest.approx((0.5 + 1.0) / 2)
    assert found.references == pytest.approx((0.125,) * 3)
    assert found.details["as it came"] == "0.125 (references 0.125 to 0.125)"
    assert found.details["at 8 bits"].startswith("0.375 ")
    assert found.details["at 4 bits"].startswith("0.625 ")
    assert Quantised.question is Question.RECOVERABLE


def test_without_weights_to_round_it_is_not_measured():
    extra = {name: {"8 bits": flat([(1, 1)])} for name in NAMES}
    found = Quantised().measure(spoken({name: {"forget": [(1, 1)]} for name in NAMES}, extra=extra))
    assert isinstance(found, NotMeasured)
    assert "no linear weights" in found.because
