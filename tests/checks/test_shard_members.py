"""The member that held a record beside the others: the deal as the only law, exactly."""

import numpy as np
import pytest
from scipy import stats

from expunge.checks.shard_members import ShardMembers
from expunge.core.check import Measurement, NotMeasured
from expunge.engine.evidence import Evidence
from expunge.engine.members import Held

MEMBERS = 5


def evidence(said, holders, *, original=None, subjects=None, members=MEMBERS):
    n = said.shape[1]
    arrays = {"c": {"members": said}, "o": {"members": said if original is None else original}}
    for model in arrays.values():
        model["forget"] = np.zeros((n, 2))
    return Evidence(
        arrays,
        {"forget": np.zeros(n, int)},
        candidate="c",
        original="o",
        references=(),
        alpha=0.05,
        corrections=None,
        subjects={"forget": subjects} if subjects else None,
        held=Held(np.asarray(holders), members),
    )


def measured(*args, **more):
    found = ShardMembers().measure(evidence(*args, **more))
    assert isinstance(found, Measurement), found
    return found


def unlike(draw, n):
    """Members as unlike as can be: one is far surer of everything, one knows nothing."""
    return draw.normal(size=(MEMBERS, n)) ** 3 + np.array([9.0, 0.0, 1.0, -4.0, 0.5])[:, None]


def test_members_that_saw_nothing_lie_in_their_interval_at_the_rate_it_states():
    """One fixed table of answers; only the deal of 60 records is drawn."""
    draw, outside, values = np.random.default_rng(0), 0, []
    said = unlike(draw, 60)
    for _ in range(500):
        found = measured(said, draw.integers(0, MEMBERS, 60))
        outside += not found.interval.low <= 0 <= found.interval.high
        values.append(found.value)
    assert np.mean(values) == pytest.approx(0.5, abs=0.007)
    assert stats.binomtest(outside, 500, 0.10, alternative="greater").pvalue > 1e-3


def test_a_member_that_still_knows_its_records_is_found_on_its_side():
    draw = np.random.default_rng(1)
    said, holders = draw.normal(size=(MEMBERS, 80)), draw.integers(0, MEMBERS, 80)
    known = said.copy()
    known[holders, np.arange(80)] += 9.0
    found = measured(known, holders, original=known)
    assert (found.value, found.original) == (1.0, 1.0)
    assert "100.0% (by chance 20.0%)" in found.details["the member that held it is the surest"]
    known[holders, np.arange(80)] -= 18.0
    assert measured(known, holders).interval.high < 0, "forgetting too much is a trace"


def test_records_of_one_subject_are_one_draw():
    draw = np.random.default_rng(2)
    said, holders = np.repeat(draw.normal(size=(MEMBERS, 12)), 10, axis=1), np.repeat(draw.integers(0, 5, 12), 10)
    alone = measured(said, holders)
    together = measured(said, holders, subjects=[f"s{i // 10}" for i in range(120)])
    assert together.record_error > 3 * alone.record_error


def test_records_that_tell_nothing_are_left_aside():
    draw = np.random.default_rng(3)
    said, holders = draw.normal(size=(MEMBERS, 60)), draw.integers(0, MEMBERS, 60)
    less = np.where(np.arange(60) < 20, -1, holders)
    found = measured(said, less)
    assert found.value == pytest.approx(measured(said[:, 20:], holders[20:]).value)
    assert found.n == 40
    assert found.details["records that tell nothing"].startswith("20:")


@pytest.mark.parametrize(
    ("said", "holders", "members", "because"),
    [
        (np.zeros((5, 9)), np.zeros(9, int), 5, "9 forgotten subjects"),
        (np.zeros((4, 30)), np.zeros(30, int), 5, "another number of members than the 5"),
        (np.full((5, 30), np.nan), np.zeros(30, int), 5, "NaN"),
    ],
)
def test_what_cannot_be_measured_says_why(said, holders, members, because):
    found = ShardMembers().measure(evidence(said, holders, members=members))
    assert isinstance(found, NotMeasured)
    assert because in found.because


def test_a_model_that_is_no_ensemble_says_so():
    bare = evidence(np.zeros((5, 30)), np.zeros(30, int))
    del bare._arrays["c"]["members"]
    assert "no ensemble" in ShardMembers().measure(bare).because
