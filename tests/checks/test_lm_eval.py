import numpy as np
import pytest

from expunge.checks.lm_eval import LmEval
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PARTS = {"forget": [(0, 0)], "retain": [(1, 1)]}
PLAIN = dict.fromkeys(NAMES, PARTS)


def evidence(**candidate):
    right = {"lm-eval easy, acc": np.array([1.0, 1.0, 1.0, 0.0]), "lm-eval hard, acc_norm": np.array([1.0, 0.0])}
    own = {f"lm-eval {name.replace('_', ', ', 1)}": np.array(row) for name, row in candidate.items()}
    return spoken(PLAIN, extra={name: right | own if name == "c" else right for name in NAMES})


def test_every_task_counts_alike_whatever_its_documents():
    found = LmEval().measure(evidence(easy_acc=[1.0, 0.0, 0.0, 0.0]))
    assert found.value == pytest.approx((0.25 + 0.5) / 2)
    assert found.references == pytest.approx(((0.75 + 0.5) / 2,) * 3)
    assert found.n == 6
    assert found.details["lm-eval easy, acc"] == "0.250 on 4 documents (references 0.750 to 0.750)"
    # By hand: each document of four weighs 6 / (2 * 4), and documents are a sample: sqrt(3) / 6 more could differ.
    differences = np.array([0.0, -0.75, -0.75, 0.0, 0.0, 0.0])
    assert found.record_error == pytest.approx(np.hypot(differences.std(ddof=1) / 6**0.5, 3**0.5 / 6))


def test_without_tasks_or_numbers_it_is_not_measured():
    for given, because in ((spoken(PLAIN), "no task"), (evidence(easy_acc=[np.nan] * 4), "NaN")):
        found = LmEval().measure(given)
        assert isinstance(found, NotMeasured)
        assert because in found.because
