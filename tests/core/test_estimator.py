"""The contract of an estimator: what must be said, and what remains when nothing is said."""

import pytest

from expunge.core.estimator import Estimator, Remains


def test_what_remains_says_nothing_that_was_not_measured():
    found = Remains(rows=3, holds="sums")
    assert (found.tombstones, found.pending, found.notes) == (0, 0, ())
    with pytest.raises(AttributeError):
        found.rows = 4


@pytest.mark.parametrize("left_out", ["forget", "what_remains_", "fingerprint", "trial"])
def test_a_class_that_leaves_something_out_is_none(left_out):
    parts = {name: (lambda self: None) for name in ("forget", "what_remains_", "fingerprint", "trial")}
    del parts[left_out]
    with pytest.raises(TypeError, match=left_out):
        type("Half", (Estimator,), parts)()
