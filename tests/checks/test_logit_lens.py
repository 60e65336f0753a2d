import numpy as np
import pytest

from expunge.checks.logit_lens import LogitLens
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PARTS = {"forget": [(0, 0), (1, 1, 1, 1)], "retain": [(1, 1)]}
PLAIN = dict.fromkeys(NAMES, PARTS)


def test_of_each_record_the_block_that_knows_most_counts():
    """Of two records with 2 and 4 tokens: the mean probability at a block, then the larger of two."""
    unknown = np.log(np.full((6, 2), 0.1))
    known = np.log(np.array([[0.2, 0.9], [0.4, 0.1], [0.5, 0.1], [0.5, 0.1], [0.7, 0.1], [0.7, 0.1]]))
    extra = {name: {"lens": known if name == "c" else unknown} for name in NAMES}
    found = LogitLens().measure(spoken(PLAIN, extra=extra))
    assert found.value == pytest.approx((0.5 + 0.6) / 2)
    assert found.references == pytest.approx((0.1,) * 3)
    assert found.n == 2


def test_without_inner_blocks_it_is_not_measured():
    found = LogitLens().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "inner blocks" in found.because
