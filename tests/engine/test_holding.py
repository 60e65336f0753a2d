"""Which rows a model holds is compared with the records, in both directions."""

import pytest

from expunge.core.problem import Problem
from expunge.data.table import TableRecords
from expunge.engine.holding import other_rows
from tests.support import toys
from tests.support.estimators import Means
from tests.support.people import FEATURES, fitted, people


@pytest.mark.parametrize(
    ("held", "given", "said"),
    [
        (people(), people(), None),
        (people().iloc[2:], people(), "2 of 160 records not held, 0 rows held that are no record"),
        (people(), people().iloc[3:], "0 of 157 records not held, 3 rows held that are no record"),
    ],
)
def test_rows_are_compared_both_ways(held, given, said):
    records = TableRecords(given, label="income", id="person", features=FEATURES)
    found = other_rows(Problem(model=fitted(Means(), held), train=records, forget=[records.ids[5]]))
    assert (found and found.found) == said


def test_a_model_that_knows_no_rows_is_asked_nothing():
    assert other_rows(toys.problem()) is None
