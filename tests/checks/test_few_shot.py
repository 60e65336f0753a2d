import numpy as np
import pytest

from expunge.checks.few_shot import FewShot
from expunge.core.check import NotMeasured
from tests.support.evidence import said, spoken

NAMES = ("c", "o", "r1", "r2", "r3")
RIGHT = {name: {"forget": [(0, 0), (0, 0, 0, 0)]} for name in NAMES}


def test_what_is_said_after_examples_counts_and_not_what_is_said_without():
    extra = {name: {"shots": said(np.zeros(6), np.log(np.full(6, 0.1)))} for name in NAMES}
    extra["c"] = {"shots": said(np.array([1.0, 1, 0, 0, 0, 1]), np.log(np.full(6, 0.9)))}
    found = FewShot().measure(spoken(RIGHT, extra=extra))
    assert found.value == pytest.approx((1.0 + 0.25) / 2)
    assert found.references == (0.0, 0.0, 0.0)


def test_without_room_it_is_not_measured():
    found = FewShot().measure(spoken(RIGHT))
    assert isinstance(found, NotMeasured)
    assert "room" in found.because
