import numpy as np
import pytest

from expunge.checks.model_utility import ModelUtility, _rows, _utility
from expunge.core.check import NotMeasured
from tests.support.evidence import spoken

NAMES = ("c", "o", "r1", "r2", "r3")
PARTS = ("retain", "neighbours", "holdout")
ASKED = {"retain": np.array([0, 2]), "neighbours": np.array([0]), "holdout": np.array([0, 1])}


def recalls(*values):
    found = np.zeros((len(values), 7))
    found[:, 0] = values
    return found


def evidence(probability=0.5, *, recall=(1.0, 0.5), wrong=True, asked=ASKED):
    """Return evidence on three retained, one neighbouring and two held-out records, probabilities as told."""
    p = {
        "retain": [(np.log(0.8),) * 2, (np.log(0.1),), (np.log(0.4),)],
        "neighbours": [(np.log(0.9),)],
        "holdout": [(np.log(probability),), (np.log(0.25),)],
    }
    owners = {}
    if wrong:
        p |= {
            "paraphrased_answer of holdout": [(np.log(0.3),)],
            "wrong_answer of holdout": [(np.log(0.15),), (np.log(0.06),)],
        }
        owners = {"paraphrased_answer of holdout": np.array([1]), "wrong_answer of holdout": np.array([1, 1])}
    right = {part: [(1,) * len(row) for row in rows] for part, rows in p.items()}
    extra = {
        "written retain": recalls(*recall),
        "written neighbours": recalls(0.75),
        "written holdout": recalls(0.2, 0.6),
    }
    return spoken(
        dict.fromkeys(NAMES, right),
        log_probs=dict.fromkeys(NAMES, p),
        extra=dict.fromkeys(NAMES, extra),
        owners=owners,
        asked=asked,
    )


def harmonic(*parts):
    return len(parts) / sum(1 / part for part in parts)


def test_every_part_by_hand():
    """Wrong answers, known of one held-out record, are 0.15 and 0.06: by the mean of their logarithms 0.0949."""
    found = ModelUtility().measure(evidence())
    wrong = (0.15 * 0.06) ** 0.5
    share, truth = 0.25 / (0.25 + wrong), 1 - wrong / 0.3
    assert found.value == pytest.approx(harmonic(0.6, 0.75, 0.9, 0.75, share, 0.4, truth))
    assert found.details["probability, retained"] == "0.600 (references 0.600 to 0.600)"
    assert found.details["ROUGE-L recall, held-out"].startswith("0.400 ")
    assert found.details["truth ratio, held-out"].startswith(f"{truth:.3f} ")
    assert found.details["no truth ratio"].startswith("retained, neighbours:")
    assert found.n == 5


def test_without_wrong_answers_six_parts_are_left():
    found = ModelUtility().measure(evidence(wrong=False))
    assert found.value == pytest.approx(harmonic(0.6, 0.75, 0.9, 0.75, 0.375, 0.4))


def test_answers_that_no_record_has_of_both_kinds_are_no_part():
    given = evidence()
    given._owners["paraphrased_answer of holdout"] = np.array([0])  # the wrong ones are of the other record
    found = ModelUtility().measure(given)
    assert found.value == pytest.approx(harmonic(0.6, 0.75, 0.9, 0.75, 0.375, 0.4))
    assert "held-out" in found.details["no truth ratio"]


def test_one_part_of_nothing_is_nothing():
    found = ModelUtility().measure(evidence(recall=(0.0, 0.0)))
    assert found.value == 0.0
    assert found.details["ROUGE-L recall, retained"].startswith("0.000 ")


def test_what_a_record_adds_is_the_slope_of_the_harmonic_mean():
    draw = np.random.default_rng(0)
    known = draw.random(20) < 0.6
    sets = {"a": {"x": (draw.random(20), np.ones(20, bool)), "y": (draw.random(20), known)}}
    before = _utility(sets)
    for record in range(20):
        factor = np.where(np.arange(20) == record, 1 + 1e-6, 1)
        moved = _utility({"a": {what: (row * factor, where) for what, (row, where) in sets["a"].items()}})
        assert (moved.value - before.value) / 1e-6 == pytest.approx(before.terms["a"][record] / 20, rel=1e-4)


def test_rows_are_of_the_records_that_were_asked():
    rows = _rows(evidence(), "c", "retain")
    assert rows["probability"][0] == pytest.approx([0.8, 0.4])


def test_without_answers_it_is_not_measured():
    found = ModelUtility().measure(evidence(asked={"retain": np.array([0])}))
    assert isinstance(found, NotMeasured)
    assert "held-out" in found.because
    assert "no holdout" in ModelUtility().measure(spoken({n: {"retain": [(1,)]} for n in NAMES})).because
