import numpy as np
import pytest

from expunge.checks.worst_group_accuracy import WorstGroupAccuracy
from expunge.core.check import NotMeasured, Question
from tests.support.evidence import table, votes

LABELS = [0, 0, 0, 0, 1, 1]
ROWS = {
    "c": votes(0, 0, 0, 1, 1, 0),
    "o": votes(0, 0, 0, 0, 1, 1),
    "r1": votes(0, 0, 1, 0, 1, 1),
    "r2": votes(0, 0, 0, 0, 1, 0),
    "r3": votes(0, 1, 0, 1, 1, 1),
}


def evidence(groups):
    made = table("holdout", ROWS, LABELS)
    made.groups = groups
    return made


def test_the_value_is_the_lowest_group_by_hand():
    found = WorstGroupAccuracy().measure(evidence(np.array(list("aaabbb"))))
    assert found.value == pytest.approx(1 / 3)
    assert found.original == 1.0
    assert found.references == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert found.details == {
        "groups": "2",
        "records in the smallest group": "3",
        "group 1, b": "33.3% on 3 records (original 100.0%; references 66.7% to 100.0%)",
        "group 2, a": "100.0% on 3 records (original 100.0%; references 66.7% to 100.0%)",
    }
    assert WorstGroupAccuracy.question is Question.INTACT


def test_records_without_a_group_are_left_out():
    found = WorstGroupAccuracy().measure(evidence(np.array(["a", "a", "a", "", "b", "b"])))
    assert (found.value, found.n) == (0.5, 5)
    assert found.details["records without a group, left out"] == "1"


def test_a_group_that_is_one_person_is_not_named():
    made = evidence(np.array(list("aaabbb")))
    made._subjects = {"holdout": ["ada"] * 3 + ["bob", "cy", None]}
    names = [name for name in WorstGroupAccuracy().measure(made).details if name.startswith("group ")]
    assert names == ["group 1, b", "group 2, of one subject"]


def test_without_groups_it_is_not_measured():
    assert isinstance(WorstGroupAccuracy().measure(evidence(None)), NotMeasured)
