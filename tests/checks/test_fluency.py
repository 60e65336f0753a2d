import numpy as np
import pytest

from expunge.checks.fluency import Fluency
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0)] * 2} for name in NAMES}


def test_triples_weigh_twice_what_pairs_do():
    extra = {name: {"written forget": np.array([[1, 0, -1, 3, 2.4, 0, 1], [1, 0, -1, 1.5, 0, 0, 1]])} for name in NAMES}
    extra["c"] = {"written forget": np.zeros((2, 7))}
    found = Fluency().measure(spoken(PLAIN, extra=extra))
    assert found.value == 0.0
    assert found.references == pytest.approx((((3 + 2 * 2.4) / 3 + 0.5) / 2,) * 3)


def test_without_answers_it_is_not_measured():
    found = Fluency().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "no forgotten record has a question" in found.because
