import numpy as np
import pytest

from expunge.checks.paraphrase import Paraphrase
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
OWNERS = {"paraphrased_question": np.array([2, 0, 2])}


def test_the_mean_over_the_paraphrases_of_each_record():
    """Of three records the first has one paraphrase, the second none and the third two."""
    none = {"forget": [(0, 0)] * 3, "paraphrased_question": [(0, 0)] * 3}
    known = {**none, "paraphrased_question": [(1, 1), (0, 1), (0, 0)]}
    found = Paraphrase().measure(spoken({n: known if n == "c" else none for n in NAMES}, owners=OWNERS))
    assert found.value == pytest.approx((0.5 + (1.0 + 0.0) / 2) / 2), "of records, not of paraphrases"
    assert found.n == 2
    assert found.references == (0.0, 0.0, 0.0)
    # two of three records: both half right, so nothing is left to see but what two records cannot show, sqrt(3)/2
    assert found.record_error == pytest.approx(3**0.5 / 2)


def test_where_all_records_have_paraphrases_they_stand_for_themselves_alone():
    none = {"forget": [(0, 0)] * 2, "paraphrased_question": [(0, 0)] * 2}
    known = {**none, "paraphrased_question": [(0, 1)] * 2}
    given = {name: known if name == "c" else none for name in NAMES}
    found = Paraphrase().measure(spoken(given, owners={"paraphrased_question": np.arange(2)}))
    assert found.record_error == pytest.approx(2 / (2 * 3)), "the least of three references that agree"


def test_without_paraphrases_it_is_not_measured():
    found = Paraphrase().measure(spoken({name: {"forget": [(1, 1)]} for name in NAMES}))
    assert isinstance(found, NotMeasured)
    assert "paraphrased_question" in found.because
