import numpy as np
import pytest

from expunge.checks.knowledge_memorisation import KnowledgeMemorisation
from expunge.core.check import NotMeasured, Question
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PLAIN = {name: {"forget": [(0, 0)] * 4, "retain": [(0, 0)] * 2} for name in NAMES}


def answered(*recall):
    found = np.zeros((len(recall), 7))
    found[:, 0], found[:, 6] = recall, np.array(recall) / 2
    return found


def test_the_recall_of_forgotten_answers_counts_and_retained_ones_stand_beside():
    alone = {"written forget": answered(0.2, 0.2, 0.4, 0.4), "written retain": answered(1.0, 0.5)}
    knows = {"written forget": answered(1.0, 1.0, 0.4, 0.8), "written retain": answered(1.0, 0.8)}
    asked = {"forget": np.arange(4), "retain": np.arange(2)}
    extra = {name: knows if name == "c" else alone for name in NAMES}
    found = KnowledgeMemorisation().measure(spoken(PLAIN, extra=extra, asked=asked))
    assert found.value == pytest.approx(0.8)
    assert found.references == pytest.approx((0.3,) * 3)
    assert found.details == {
        "ROUGE-L F1, as MUSE has it": "0.400 (references 0.150 to 0.150)",
        "the recall of retained records": "0.900 (references 0.750 to 0.750)",
    }
    assert KnowledgeMemorisation.question is Question.GONE


def test_without_answers_it_is_not_measured():
    found = KnowledgeMemorisation().measure(spoken(PLAIN))
    assert isinstance(found, NotMeasured)
    assert "no forgotten record has a question" in found.because
