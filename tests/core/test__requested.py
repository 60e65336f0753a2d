"""What a request names and the records do not have, or have otherwise."""

import pytest

from expunge.core.errors import InvalidProblem
from expunge.core.request import Request
from tests.support.reading import make, told

pytestmark = pytest.mark.usefixtures("reading")
ALL = [f"t{i}" for i in range(6)]
WRONG = {
    "unknown ids": ({"forget": ["t1", "nobody"]}, "the request names records that are not in the training data"),
    "double ids": ({"request": Request(ids=("t1",))}, "the request names records twice"),
    "unknown subjects": ({"request": Request(subjects=("carl",))}, "the request names subjects that have no records"),
    "everything": ({"forget": ALL}, "the request covers all records"),
    "stray labels": (
        {"request": Request(corrections={"t2": 1})},
        "true labels are given for records that are not to be forgotten",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name):
    changes, what = WRONG[name]
    assert what in told(**changes)
    with pytest.raises(InvalidProblem, match=r"the problem has \d obstacle"):
        make(**changes).check()


def test_no_id_is_ever_quoted():
    subjects = Request(ids=("alice@x.org", "alice@x.org"), subjects=("alice@x.org",), corrections={"alice@x.org": 1})
    with pytest.raises(InvalidProblem) as caught:
        make(request=subjects).check()
    assert len(caught.value.obstacles) == 5  # one of them: this task has no classes
    assert "alice" not in str(caught.value)


def test_positions_of_unknown_ids_are_named():
    (obstacle,) = make(forget=["t1", *(f"x{i}" for i in range(7))]).validate()
    assert obstacle.where == "position 1, 2, 3, 4, 5, ... of the request"
    assert obstacle.found == "7 of 8 ids unknown"
