import numpy as np
import pytest

from expunge.checks.perplexity import Perplexity
from expunge.core.check import Direction, Question
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")


def test_the_mean_over_records_of_the_mean_over_tokens():
    log_probs = {name: {"holdout": [[-1.0, -3.0], [-0.5]]} for name in NAMES}
    log_probs["r1"] = {"holdout": [[-2.0, -2.0], [-1.5]]}
    right = {name: {"holdout": [(1, 0), (1,)]} for name in NAMES}
    found = Perplexity().measure(spoken(right, log_probs=log_probs))
    assert found.value == pytest.approx((2.0 + 0.5) / 2), "not the mean over tokens, 1.5"
    assert found.references == pytest.approx((1.75, 1.25, 1.25))
    assert found.details["perplexity"] == f"{np.exp(1.25):.3g} (references {np.exp(1.25):.3g} to {np.exp(1.75):.3g})"
    assert (found.better, Perplexity.question) == (Direction.LOWER, Question.INTACT)


def test_a_model_that_lost_all_is_measured_all_the_same():
    rows = {name: {"holdout": [[-900.0, -900.0]] * 3} for name in NAMES}
    found = Perplexity().measure(spoken({n: {"holdout": [(0, 0)] * 3} for n in NAMES}, log_probs=rows))
    assert found.value == pytest.approx(900.0)
