import numpy as np
import pytest
from fairlearn.metrics import equalized_odds_difference

from expunge.checks.equalised_odds import EqualisedOdds
from expunge.checks.worst_group_accuracy import WorstGroupAccuracy
from expunge.core.check import NotMeasured
from tests.support.evidence import table

LABELS = np.tile([0, 0, 1, 1], 20)
GROUPS = np.repeat(["many", "few"], [60, 20])


def said(wrong):
    """Logits that name the label but for records in ``wrong``."""
    return np.eye(2)[np.where(np.isin(np.arange(80), wrong), 1 - LABELS, LABELS)]


def evidence(candidate, groups=GROUPS):
    wrong = {"c": candidate, "o": range(60, 80), "r1": [0, 62], "r2": [5, 70], "r3": [9, 79]}
    rows = {name: said(each) for name, each in wrong.items()}
    made = table("holdout", rows, LABELS)
    made.groups = groups
    return made


def test_the_values_are_fairlearn_s():
    found = EqualisedOdds().measure(evidence([60, 61, 64]))
    for value, wrong in ((found.value, [60, 61, 64]), (found.references[0], [0, 62]), (found.original, range(60, 80))):
        answer = said(list(wrong)).argmax(1)
        assert value == pytest.approx(equalized_odds_difference(LABELS, answer, sensitive_features=GROUPS))
    assert found.details == {
        "groups": "2",
        "records in the smallest cell": "10",
        "widest gap": "of records of class 0, class 0 is said of 70.0% in group few, 100.0% in group many",
    }


def test_a_class_is_called_as_the_user_calls_it():
    made = evidence([60, 61, 64])
    made.classes = ("no", "yes")
    assert "of class no, class no is said" in EqualisedOdds().measure(made).details["widest gap"]


def test_records_without_a_group_are_left_out():
    unknown = np.arange(80) % 8 == 0
    found = EqualisedOdds().measure(evidence([60, 61, 64], np.where(unknown, "", GROUPS)))
    wrong = said([60, 61, 64]).argmax(1)[~unknown]
    fair = equalized_odds_difference(LABELS[~unknown], wrong, sensitive_features=GROUPS[~unknown])
    assert found.value == pytest.approx(fair)
    assert found.n == 70
    assert found.details["records without a group, left out"] == "10"


def test_harm_to_one_group_is_told_by_both_checks_and_harm_to_all_by_one():
    one, alike = range(60, 80), [i for i in range(80) if i % 4 in (0, 2)]
    narrow = EqualisedOdds().measure(evidence(one)).interval
    assert narrow.low > 0.3
    assert WorstGroupAccuracy().measure(evidence(one)).interval.high < -0.3
    assert WorstGroupAccuracy().measure(evidence(alike)).interval.high < -0.05
    assert abs(EqualisedOdds().measure(evidence(alike)).value) < 0.05


def test_the_error_grows_as_groups_shrink():
    few = np.repeat(["many", "few"], [72, 8])
    sizes = [EqualisedOdds().measure(evidence([70], groups)).record_error for groups in (GROUPS, few)]
    assert sizes[0] < sizes[1]


def test_without_groups_or_records_of_a_class_in_one_nothing_is_measured():
    assert isinstance(EqualisedOdds().measure(evidence([], None)), NotMeasured)
    alone = np.where(LABELS == 0, "a", "b")
    assert "no records of a class" in EqualisedOdds().measure(evidence([], alone)).because
