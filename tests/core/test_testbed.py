"""The contract of a test bed."""

import pytest

from expunge.core.errors import UsageError
from expunge.core.testbed import Testbed


class Count(Testbed):
    title, source = "Counting", "none"
    ids = ("a", "b", "c")

    def truth(self, forget=()):
        return {"count": len(self.kept(forget))}


def test_what_remains_is_in_order():
    assert Count().kept(["b", "b"]) == [0, 2]
    assert Count().truth(["a"]) == {"count": 2}
    assert Count(seed=3).seed == 3


def test_an_unknown_id_is_refused():
    with pytest.raises(UsageError, match="1 unknown ids"):
        Count().kept(["a", "z"])
