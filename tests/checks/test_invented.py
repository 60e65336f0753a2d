import numpy as np
import pytest

from expunge.checks.invented import Invented
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0)] * 4, "holdout": [(0, 0)] * 3} for name in NAMES}


def answers(elsewhere, probability):
    """Return what is known of answers with so many words from elsewhere, each token of this probability."""
    rest = np.zeros(len(elsewhere))
    return np.stack([rest, np.array(elsewhere, float), np.log(probability), rest, rest, rest, rest], axis=1)


def test_what_is_from_elsewhere_and_said_surely_is_made_up():
    none = {"written forget": answers([0] * 4, [0.9] * 4), "written holdout": answers([0, 1], [0.9, 0.6])}
    some = {**none, "written forget": answers([2, 1, 3, 0], [0.9, 0.51, 0.49, 0.9])}
    extra = {name: some if name == "c" else none for name in NAMES}
    asked = {"forget": np.arange(4), "holdout": np.array([0, 2])}
    found = Invented().measure(spoken(PLAIN, extra=extra, asked=asked))
    assert found.value == pytest.approx(0.5), "the third is not sure"
    assert found.references == (0.0,) * 3
    assert found.details["words from elsewhere in an answer"] == "1.500 (references 0.000 to 0.000)"
    assert found.details["the same of held-out records, whose subjects it never knew"].startswith("0.500 ")
    assert Invented.damage_only, "who makes nothing up does no harm"


def test_without_answers_it_is_not_measured():
    found = Invented().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "no forgotten record has a question" in found.because
