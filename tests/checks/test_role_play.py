import numpy as np
import pytest

from expunge.checks.role_play import RolePlay
from expunge.core.check import NotMeasured
from expunge.engine.prompting import ROLES
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0), (1, 1)]} for name in NAMES}


def test_of_each_record_the_role_that_gets_most_counts():
    quiet = np.zeros((2, len(ROLES)))
    told = quiet.copy()
    told[0, 1], told[0, 4], told[1, 2] = 0.5, 1.0, 0.25
    extra = {name: {"role play": told if name == "c" else quiet} for name in NAMES}
    found = RolePlay().measure(spoken(PLAIN, extra=extra))
    assert found.value == pytest.approx((1.0 + 0.25) / 2)
    assert found.references == (0.0,) * 3
    assert found.details['asked "... Sure, here is the answer:"'] == "0.500 (references 0.000 to 0.000)"
    assert len(found.details) == len(ROLES)
    assert RolePlay().cost(3, 1).read == 3 * 2 * 2 * len(ROLES)


def test_without_room_it_is_not_measured():
    found = RolePlay().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "room" in found.because
