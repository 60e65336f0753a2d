import math

import numpy as np
import pytest
from scipy import stats

from expunge.checks.forget_accuracy import ForgetAccuracy
from expunge.checks.holdout_accuracy import HoldoutAccuracy
from expunge.core.chart import Role
from expunge.core.check import NotMeasured
from expunge.engine.answers import Outputs
from expunge.engine.evidence import Evidence
from expunge.numerics import equivalence


def test_outputs_by_hand():
    logits = np.array([[2.0, 1.0, 1.0], [0.0, 0.0, 3.0]])
    outputs = Outputs(logits, np.array([0, 1]))
    np.testing.assert_array_equal(outputs.correct, [1.0, 0.0])
    np.testing.assert_array_equal(outputs.predicts(np.array([1, 2])), [0.0, 1.0])
    np.testing.assert_allclose(np.exp(outputs.log_probs).sum(1), 1)
    p = np.exp(outputs.log_probs)[[0, 1], [0, 1]]
    np.testing.assert_allclose(outputs.confidence, np.log(p / (1 - p)))


def evidence_of(rows, *, candidate="c", alpha=0.05, corrections=None):
    """Evidence on ``forget`` in which each model is right on the records its row says."""
    target = np.zeros(len(next(iter(rows.values()))), dtype=np.int64)
    arrays = {m: {"forget": np.stack([np.asarray(row, float), np.full(len(row), 0.5)], 1)} for m, row in rows.items()}
    names = tuple(name for name in rows if name.startswith("r"))
    return Evidence(
        arrays,
        {"forget": target},
        candidate=candidate,
        original="o",
        references=names,
        alpha=alpha,
        corrections=corrections,
    )


ROWS = {
    "c": [1, 1, 1, 0, 1, 1],
    "o": [1, 1, 1, 1, 1, 1],
    "r1": [1, 0, 0, 0, 1, 0],
    "r2": [1, 1, 0, 0, 1, 0],
    "r3": [1, 0, 0, 1, 1, 1],
}


def test_a_comparison_by_hand():
    found = ForgetAccuracy().measure(evidence_of(ROWS))
    rows = {name: np.array(row, float) for name, row in ROWS.items()}
    references = [2 / 6, 3 / 6, 4 / 6]
    assert found.value == pytest.approx(5 / 6)
    assert found.references == pytest.approx(references)
    assert found.original == 1.0
    assert found.n == 6
    paired = rows["c"] - (rows["r1"] + rows["r2"] + rows["r3"]) / 3
    apart = (rows["r1"] - (rows["r2"] + rows["r3"]) / 2, rows["r2"] - (rows["r1"] + rows["r3"]) / 2)
    apart = (*apart, rows["r3"] - (rows["r1"] + rows["r2"]) / 2)
    variances = [float(row.var(ddof=1)) / 6 for row in apart]
    left = paired.var(ddof=1) / 6 - 8 / 9 * sum(variances) / 3
    record_error = math.sqrt(max(left, 0.0))
    assert found.record_error == pytest.approx(record_error)
    error = math.hypot(np.std(references, ddof=1) * math.sqrt(4 / 3), record_error)
    half = stats.t.ppf(0.95, 2) * error
    assert (found.interval.low, found.interval.high) == pytest.approx((1 / 3 - half, 1 / 3 + half))
    assert found.interval.level == pytest.approx(0.9)
    nulls = [math.sqrt(max(0.0, 1.5 * own - sum(variances) / 2)) for own in variances]
    assert found.null_errors == pytest.approx(nulls)
    assert max(nulls) > 0


def test_a_candidate_that_is_a_reference_is_compared_with_the_others():
    evidence = evidence_of({k: v for k, v in ROWS.items() if k != "c"}, candidate="r1")
    assert evidence.judged == ("r1", "r2", "r3")
    assert evidence.models == ("r1", "o", "r2", "r3")
    rows = {name: np.array(row, float) for name, row in ROWS.items()}
    np.testing.assert_allclose(evidence.differences(rows, "r1"), rows["r1"] - (rows["r2"] + rows["r3"]) / 2)


def test_what_is_missing_is_said():
    evidence = evidence_of(ROWS)
    assert evidence.lacks("forget") == ""
    assert evidence.lacks("forget", "holdout") == "there are no holdout records"
    empty = evidence.compare_means(ForgetAccuracy(), ("forget",), lambda model: np.empty(0))
    assert isinstance(empty, NotMeasured)
    assert empty.because == "no record of the judging part qualifies"


# --- whose records they are -----------------------------------------------------------------------------------

WHOSE = ("anna", "ben", "anna", None, None, "ben")


def evidence_with_subjects(part, subjects=WHOSE):
    arrays = {m: {part: np.stack([np.asarray(row, float), np.full(6, 0.5)], 1)} for m, row in ROWS.items()}
    return Evidence(
        arrays,
        {part: np.zeros(6, dtype=np.int64)},
        candidate="c",
        original="o",
        references=("r1", "r2", "r3"),
        alpha=0.05,
        corrections=None,
        subjects={part: subjects},
    )


def test_holdout_records_of_one_subject_go_together():
    evidence = evidence_with_subjects("holdout")
    clusters = evidence.clusters("holdout")
    assert len(set(clusters.tolist())) == 4, "anna, ben, and two that nobody is known to own"
    assert clusters[0] == clusters[2] != clusters[1] == clusters[5]
    rows = {name: np.array(row, float) for name, row in ROWS.items()}
    errors = evidence.record_errors("holdout", rows)
    own = {m: equivalence.clustered_error(evidence.differences(rows, m), clusters) for m in evidence.judged}
    left = own["c"] ** 2 - 8 / 9 * sum(own[name] ** 2 for name in ("r1", "r2", "r3")) / 3
    assert errors["c"] == pytest.approx(math.hypot(math.sqrt(max(0.0, left)), math.sqrt(3) / 4))
    assert HoldoutAccuracy().measure(evidence).record_error == errors["c"]
    assert errors["c"] >= 1 / 4
    some = np.array([True, True, True, False, False, False])
    assert sorted(evidence.clusters("holdout", some)) == [0, 0, 1]


@pytest.mark.parametrize("part", ["forget", "retain", "neighbours"])
def test_records_that_are_no_sample_of_subjects_stand_for_themselves(part):
    assert evidence_with_subjects(part).clusters(part) is None


def test_a_holdout_of_nobody_known_has_no_clusters():
    assert evidence_with_subjects("holdout", (None,) * 6).clusters("holdout") is None
    assert evidence_of(ROWS).clusters("holdout") is None


def test_a_statistic_over_some_holdout_records_says_which():
    evidence = evidence_with_subjects("holdout")
    some = np.array([True, True, True, True, False, False])

    def right(model):
        return evidence.outputs(model, "holdout").correct[some]

    with pytest.raises(ValueError, match="where"):
        evidence.compare_means(HoldoutAccuracy(), ("holdout",), right)
    assert evidence.compare_means(HoldoutAccuracy(), ("holdout",), right, where=some).record_error >= 1 / 3


@pytest.mark.parametrize("agree", [True, False])
def test_references_that_agree_on_few_records_do_not_make_them_sure(agree):
    answers = {"c": [1], "o": [1], "r1": [1], "r2": [1], "r3": [1 if agree else 0]}
    found = ForgetAccuracy().measure(evidence_of(answers))
    assert found.record_error == (equivalence.unseen_error(1, 3) if agree else 0.0)
    assert len(found.null_errors) == 3
    assert found.interval.low < 0 < found.interval.high or not agree


@pytest.mark.parametrize("of", [None, 8, 6])
def test_of_retained_records_that_were_all_looked_at_none_is_unseen(of):
    """Cochran 1977, 2.6: of 6 records out of 8 half of the error is left; of all of them, what seeds alone explain."""
    arrays = {m: {"retain": np.stack([np.asarray(row, float), np.full(6, 0.5)], 1)} for m, row in ROWS.items()}
    names = {"candidate": "c", "original": "o", "references": ("r1", "r2", "r3")}
    more = {} if of is None else {"drawn_of": {"retain": of}}
    evidence = Evidence(arrays, {"retain": np.zeros(6, dtype=np.int64)}, **names, alpha=0.05, corrections=None, **more)
    rows = {name: np.array(row, float) for name, row in ROWS.items()}
    found, endless = (
        evidence.record_errors("retain", rows),
        evidence_with_subjects("retain").record_errors("retain", rows),
    )
    assert found == pytest.approx({m: {None: 1.0, 8: 0.5, 6: 0.0}[of] * error for m, error in endless.items()})
    assert min(endless.values()) >= math.sqrt(3) / 6


def test_the_lines_of_a_chart_by_hand():
    evidence = evidence_of(ROWS)
    x = np.array([0.0, 1.0])
    rows = {"c": [0.5, 1.0], "o": [1.0, 1.0], "r1": [0.0, 0.1], "r2": [0.2, 0.5], "r3": [0.1, 0.9]}
    subject, original, references = evidence.series(x, {name: np.array(row) for name, row in rows.items()})
    assert (subject.role, subject.x, subject.y) == (Role.SUBJECT, (0.0, 1.0), (0.5, 1.0))
    assert (original.role, original.y, original.low) == (Role.ORIGINAL, (1.0, 1.0), ())
    assert references.role is Role.REFERENCES
    assert (references.y, references.low, references.high) == ((0.1, 0.5), (0.0, 0.1), (0.2, 0.9))


@pytest.mark.parametrize(("candidate", "roles"), [("o", "SUBJECT REFERENCES"), ("r1", "SUBJECT ORIGINAL REFERENCES")])
def test_a_model_is_drawn_once(candidate, roles):
    evidence = evidence_of({k: v for k, v in ROWS.items() if k != "c"}, candidate=candidate)
    rows = {name: np.full(1, float(name == "r1")) for name in evidence.models}
    lines = evidence.series(np.zeros(1), rows)
    assert [line.role for line in lines] == [Role[name] for name in roles.split()]
    assert lines[-1].high == ((1.0,) if candidate == "o" else (0.0,)), "the band is of the other references"


def test_charts_are_asked_for_only_where_there_is_a_measurement():
    def never():
        raise AssertionError("asked")

    evidence = evidence_of(ROWS)
    found = evidence.compare_means(ForgetAccuracy(), ("forget",), lambda model: np.full(6, np.nan), charts=never)
    assert isinstance(found, NotMeasured)


def test_a_reference_that_says_what_another_model_says_is_found():
    assert evidence_of(ROWS).twins("forget") == ""
    assert "they are one" in evidence_of({**ROWS, "c": ROWS["r2"]}).twins("forget")
    assert "they are one" in evidence_of({**ROWS, "r1": ROWS["r2"]}).twins("forget")
    assert "they are one" in evidence_of({**ROWS, "o": ROWS["r2"]}).twins("forget")
    assert evidence_of({**ROWS, "c": ROWS["o"]}).twins("forget") == "", "a model may be the original in other words"
    assert evidence_of({k: v for k, v in ROWS.items() if k != "c"}, candidate="r1").twins("forget") == ""


def test_an_array_that_is_missing_or_broken_is_said():
    given = evidence_of(ROWS)
    assert given.lacks_array("forget", "none") == ""
    assert given.lacks_array("around", "no noise here") == "no noise here"
    broken = evidence_of({**ROWS, "r1": [np.nan] * 6})
    assert broken.lacks_array("forget", "none") == "the outputs of 1 of 5 models are NaN or infinite"
