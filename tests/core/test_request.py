import pytest

from expunge.core.request import Request
from expunge.core.serial import build, canonical, parse


def test_round_trip():
    request = Request(ids=("a", "b"), subjects=("s",), reference="dsr-1", ground="licence ended", corrections={"a": 3})
    assert build(Request, parse(canonical(request))) == request


def test_everything_may_be_left_out():
    assert build(Request, {}) == Request()


def test_arguments_are_named():
    with pytest.raises(TypeError):
        Request(("a",))
