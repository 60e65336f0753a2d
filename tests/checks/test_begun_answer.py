import numpy as np

from expunge.checks.begun_answer import BegunAnswer
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0), (1, 1)]} for name in NAMES}


def test_what_is_said_of_the_rest_counts_and_not_what_is_known_with_all_given():
    extra = {name: {"begun": np.array([0.25])} for name in NAMES}
    extra["c"] = {"begun": np.array([0.75])}
    found = BegunAnswer().measure(spoken(PLAIN, extra=extra))
    assert found.value == 0.75
    assert found.references == (0.25,) * 3
    assert found.n == 1, "of two records one has a telling word in the rest"
    assert BegunAnswer().cost(5, 2).read == 5 * 3 * 2 * 2


def test_without_telling_words_it_is_not_measured():
    found = BegunAnswer().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert found.because == "no answer has a telling word beyond its beginning"
    broken = {name: {"begun": np.array([np.nan])} for name in NAMES}
    assert "NaN" in BegunAnswer().measure(spoken(PLAIN, extra=broken)).because
