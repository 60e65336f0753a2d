import numpy as np
import pytest

from expunge.checks.extraction_strength import ExtractionStrength
from expunge.checks.worst_extraction import WorstExtraction
from expunge.conformance.token_law import TokenLaw, said
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken, table


def test_the_excess_over_the_references_by_hand():
    """Ten of twenty records are looked at: 1 - 0 in the one that is known, 0 in the nine others and in references."""
    none, known = [(0, 0)] * 20, [(1, 1)] + [(0, 0)] * 19
    right = {"c": known, "o": [(1, 1)] * 20, "r1": none, "r2": none, "r3": none}
    found = WorstExtraction().measure(spoken({name: {"forget": rows} for name, rows in right.items()}))
    assert found.value == pytest.approx(1 / 10)
    assert found.references == pytest.approx((0.0, 0.0, 0.0))
    assert found.details == {"answers known from the question alone": "1 (references 0 to 0)"}


@pytest.mark.parametrize(("n", "of"), [(5, 5), (12, 10), (200, 20)])
def test_it_is_of_a_tenth_and_of_ten_records_at_the_least(n, of):
    none, known = [(0, 0)] * n, [(1, 1)] * 3 + [(0, 0)] * (n - 3)
    right = {"c": known, "o": [(1, 1)] * n, "r1": none, "r2": none, "r3": none}
    found = WorstExtraction().measure(spoken({name: {"forget": rows} for name, rows in right.items()}))
    assert found.value == pytest.approx(3 / of)


def test_a_few_records_move_it_far_more_than_the_mean():
    law = TokenLaw()
    model = law.model(7)
    last = np.cumsum(law.lengths["forget"])[5]
    model["forget"][:last] = said(np.full(last, 6.0))  # 6 of 200 records known by heart
    evidence = law.evidence(model)
    worst, mean = WorstExtraction().measure(evidence), ExtractionStrength().measure(evidence)
    assert worst.interval.low > 0
    assert worst.difference > 5 * mean.difference, "20 of 200 records"
    assert worst.details["records beyond what unseen text shows"] == "13 of 200, above 0.62 (references 6 to 12)"


def test_classes_are_not_measured():
    rows = {name: np.eye(3)[[0, 1]] for name in ("c", "o", "r1", "r2", "r3")}
    assert isinstance(WorstExtraction().measure(table("forget", rows, [0, 1])), NotMeasured)
