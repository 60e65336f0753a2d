"""The cases of estimators tell a sound one from broken ones, each by the case that is meant for it."""

import pytest

from expunge.conformance.run import Result, conform
from tests.conformance.cases import outcome
from tests.support import estimators


def test_a_sound_one_passes():
    estimators.Means.exempt = {}
    tried = conform("estimators", estimators.Means).tried
    assert {one.case for one in tried if one.result is Result.FAILED} == set()


@pytest.mark.parametrize(
    ("cls", "case"),
    [
        (estimators.Stale, "any_history_equals_a_fresh_fit"),
        (estimators.Stale, "forgetting_changes_what_was_learnt"),
        (estimators.Stale, "a_class_can_be_forgotten"),
        (estimators.Running, "any_history_equals_a_fresh_fit"),
        (estimators.Running, "order_and_batching_do_not_matter"),
        (estimators.Remembering, "nothing_of_a_forgotten_row_is_saved"),
    ],
)
def test_a_broken_one_is_found(cls, case):
    assert outcome("estimators", cls, case)[0] is Result.FAILED
