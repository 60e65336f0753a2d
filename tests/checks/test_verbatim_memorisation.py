import numpy as np
import pytest

from expunge.checks.verbatim_memorisation import VerbatimMemorisation
from expunge.core.check import NotMeasured, Question
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0), (1, 1)]} for name in NAMES}


def test_the_recall_counts_and_the_other_figures_stand_beside_it():
    extra = {name: {"verbatim": np.array([[0.2, 0.1, 0.1], [0.4, 0.3, 0.1]])} for name in NAMES}
    extra["c"] = {"verbatim": np.array([[1.0, 0.8, 0.6], [0.5, 0.4, 0.2]])}
    extra["r2"] = {"verbatim": np.array([[0.2, 0.3, 0.1], [0.4, 0.3, 0.5]])}
    found = VerbatimMemorisation().measure(spoken(PLAIN, extra=extra))
    assert found.value == 0.75
    assert found.references == pytest.approx((0.3,) * 3)
    assert found.details == {
        "ROUGE-L F1, as MUSE has it": "0.600 (references 0.200 to 0.300)",
        "longest run of the true words, as a share of them": "0.400 (references 0.100 to 0.300)",
    }
    assert VerbatimMemorisation.question is Question.GONE
    assert VerbatimMemorisation().cost(5, 2).read == 5 * 3 * 2 * 2


@pytest.mark.parametrize(
    ("array", "because"), [(None, "no answer has a telling word"), (np.full((2, 3), np.nan), "NaN")]
)
def test_without_texts_it_is_not_measured(array, because):
    extra = {name: {} if array is None else {"verbatim": array} for name in NAMES}
    found = VerbatimMemorisation().measure(spoken(PLAIN, extra=extra))
    assert isinstance(found, NotMeasured)
    assert because in found.because
