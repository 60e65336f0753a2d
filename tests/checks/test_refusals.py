import numpy as np
import pytest

from expunge.checks.refusals import Refusals
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0)] * 4, "retain": [(0, 0)] * 2} for name in NAMES}


def refused(*rows):
    found = np.zeros((len(rows), 7))
    found[:, 5] = rows
    return found


def test_refusals_of_forgotten_questions_count_and_others_stand_beside():
    none = {"written forget": refused(0, 0, 0, 0), "written retain": refused(0, 0)}
    some = {"written forget": refused(1, 1, 0, 1), "written retain": refused(0, 1)}
    asked = {"forget": np.arange(4), "retain": np.arange(2)}
    found = Refusals().measure(spoken(PLAIN, extra={n: some if n == "c" else none for n in NAMES}, asked=asked))
    assert found.value == pytest.approx(0.75)
    assert found.details == {"of retained records": "0.500 (references 0.000 to 0.000)"}
    assert found.record_error > 0, "references that agree on four records do not vouch for them"


def test_without_answers_it_is_not_measured():
    found = Refusals().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "no forgotten record has a question" in found.because
