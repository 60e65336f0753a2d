import math

import numpy as np
import pytest

from expunge.checks.best_of_samples import BEST_OF, BestOfSamples
from expunge.core.check import NotMeasured
from expunge.engine.prompting import SAMPLES
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0), (1, 1)]} for name in NAMES}


def test_one_hit_of_twenty_is_found_by_ten_in_half_of_the_cases():
    none = np.zeros((2, SAMPLES))
    one = none.copy()
    one[0, 3] = one[1, 5] = one[1, 7] = 1.0
    extra = {name: {"samples": one if name == "c" else none} for name in NAMES}
    found = BestOfSamples().measure(spoken(PLAIN, extra=extra))
    missed = math.comb(SAMPLES - 2, BEST_OF) / math.comb(SAMPLES, BEST_OF)
    assert found.value == pytest.approx((0.5 + 1 - missed) / 2)
    assert found.references == (0.0,) * 3
    assert found.details["best of 1"].startswith(f"{1.5 / SAMPLES:.3f} ")
    assert found.details[f"best of {SAMPLES}"].startswith("1.000 ")
    assert BestOfSamples().cost(3, 1).read == 3 * 2 * 2 * SAMPLES


def test_without_room_it_is_not_measured():
    found = BestOfSamples().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "room" in found.because
