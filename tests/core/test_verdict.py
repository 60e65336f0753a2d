"""The rules that keep a verdict honest, as properties over all inputs."""

import itertools
import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.core.check import Direction, Interval
from expunge.core.level import Level
from expunge.core.verdict import (
    Decision,
    Verdict,
    alpha_of_attempt,
    claim,
    control_has_power,
    decide,
    judge,
    needs_second_look,
    verdict,
)

decisions = st.lists(st.sampled_from(Decision), max_size=6)
some = st.lists(st.sampled_from(Decision), min_size=1, max_size=6)
verdicts = st.lists(st.sampled_from(Verdict), max_size=3)
finite = st.floats(-100, 100)
margins = st.floats(0.001, 50)
widths = st.floats(0, 50)

# What a better answer is: for a decision, a verdict, a claim.
RANK = {Verdict.NOT_ERASED: 0, Verdict.INCONCLUSIVE: 1, Verdict.ERASED: 2}


def worth(level):
    return 0 if level is None else level.strength


# --- decide -------------------------------------------------------------------------------------------------


@st.composite
def judged(draw):
    """(centre, half-width for passing, wider half-width for failing, margin)."""
    narrow = draw(widths)
    return draw(finite), narrow, narrow + draw(widths), draw(margins)


def decision_of(centre, narrow, wide, margin):
    return decide(Interval(centre - narrow, centre + narrow, 0.9), Interval(centre - wide, centre + wide, 0.99), margin)


@given(judged())
def test_it_is_equivalence_and_not_absence_of_difference(case):
    """A pass needs the whole interval inside, a failure the whole corrected one outside."""
    centre, narrow, wide, margin = case
    decision = decision_of(*case)
    low, high = centre - narrow, centre + narrow
    assert (decision is Decision.PASS) == (low >= -margin and high <= margin)
    assert (decision is Decision.FAIL) == (centre - wide > margin or centre + wide < -margin)
    assert decision is not Decision.NOT_MEASURED


@given(judged())
def test_over_forgetting_fails_like_under_forgetting(case):
    centre, narrow, wide, margin = case
    assert decision_of(centre, narrow, wide, margin) is decision_of(-centre, narrow, wide, margin)


@given(judged(), widths)
def test_less_precision_never_decides(case, more):
    centre, narrow, wide, margin = case
    before, after = decision_of(*case), decision_of(centre, narrow + more, wide + more, margin)
    assert after in (before, Decision.INCONCLUSIVE)


@given(judged(), margins)
def test_a_wider_margin_never_turns_a_pass_into_a_failure(case, more):
    centre, narrow, wide, margin = case
    order = [Decision.FAIL, Decision.INCONCLUSIVE, Decision.PASS]
    wider = decision_of(centre, narrow, wide, margin + more)
    assert order.index(wider) >= order.index(decision_of(*case))


@pytest.mark.parametrize("end", [math.nan, math.inf])
def test_an_interval_of_no_numbers_decides_nothing(end):
    nowhere = Interval(-end, end, 0.9)
    assert decide(nowhere, nowhere, 1.0) is Decision.INCONCLUSIVE


def test_the_edge_of_the_margin_is_inside():
    edge = Interval(-1.0, 1.0, 0.9)
    assert decide(edge, edge, 1.0) is Decision.PASS
    outside = Interval(1.0, 2.0, 0.9)
    assert decide(outside, outside, 1.0) is Decision.INCONCLUSIVE


# --- attempts -----------------------------------------------------------------------------------------------

alphas = st.floats(0.001, 0.2)


@given(alphas, st.integers(1, 60))
def test_more_attempts_never_make_passing_easier(alpha, attempt):
    assert 0 < alpha_of_attempt(attempt + 1, alpha) < alpha_of_attempt(attempt, alpha) <= alpha / 2
    assert math.fsum(alpha_of_attempt(k, alpha) for k in range(1, attempt + 1)) <= alpha


@given(judged(), alphas, st.integers(1, 10))
def test_what_passes_at_a_later_attempt_passes_at_the_first(case, alpha, attempt):
    """The half-width grows with the confidence: here as a normal quantile, as Student's it grows faster."""
    centre, error, _, margin = case

    def decision(number):
        half = error * NormalDist().inv_cdf(1 - alpha_of_attempt(number, alpha))
        return decision_of(centre, half, half, margin)

    if decision(attempt + 1) is Decision.PASS:
        assert decision(attempt) is Decision.PASS


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_count_from_one(attempt):
    with pytest.raises(ValueError, match="count from 1"):
        alpha_of_attempt(attempt, 0.05)


# --- judge --------------------------------------------------------------------------------------------------


@given(decisions)
def test_all_must_pass_and_one_failure_is_enough(required):
    found = judge(required)
    assert (found is Verdict.ERASED) == (len(required) > 0 and set(required) == {Decision.PASS})
    assert (found is Verdict.NOT_ERASED) == (Decision.FAIL in required)


@given(some, st.data())
def test_a_check_that_did_not_run_never_helps(required, data):
    place = data.draw(st.integers(0, len(required) - 1))
    without = [*required]
    without[place] = Decision.NOT_MEASURED
    assert judge(without) is not Verdict.ERASED
    if Decision.FAIL not in without[:place] + without[place + 1 :]:
        assert judge(without) is Verdict.INCONCLUSIVE


@given(decisions, st.randoms())
def test_the_order_of_checks_does_not_matter(required, random):
    shuffled = [*required]
    random.shuffle(shuffled)
    assert judge(shuffled) is judge(required)


@given(decisions, st.sampled_from(Decision))
def test_one_more_required_check_never_earns_more(required, one):
    if required:
        assert RANK[judge([*required, one])] <= RANK[judge(required)]
    else:
        assert judge([]) is Verdict.INCONCLUSIVE


# --- verdict ------------------------------------------------------------------------------------------------


@given(decisions, decisions)
def test_without_power_the_verdict_is_inconclusive(required, leaks):
    found = verdict(required, control_leaks=leaks)
    if Decision.FAIL in leaks:
        assert control_has_power(leaks)
        assert found is judge(required)
    else:
        assert not control_has_power(leaks)
        assert found is Verdict.INCONCLUSIVE


def test_a_suite_of_no_checks_shows_nothing():
    assert verdict([], control_leaks=[]) is Verdict.INCONCLUSIVE
    assert verdict([], control_leaks=[Decision.FAIL]) is Verdict.INCONCLUSIVE


# --- claim --------------------------------------------------------------------------------------------------


@given(st.sampled_from(Level), verdicts)
def test_the_claim_is_never_above_the_guarantee(guarantee, found):
    level = claim(guarantee, found)
    assert level is None or level <= guarantee


@given(st.sampled_from(Level), verdicts.filter(bool), st.data())
def test_a_worse_verdict_never_earns_a_better_claim(guarantee, found, data):
    place = data.draw(st.integers(0, len(found) - 1))
    worse = data.draw(st.sampled_from([v for v in Verdict if RANK[v] <= RANK[found[place]]]))
    lowered = [*found[:place], worse, *found[place + 1 :]]
    assert worth(claim(guarantee, lowered)) <= worth(claim(guarantee, found))


@given(some, decisions, st.data())
def test_a_check_that_did_not_run_never_earns_a_claim(required, leaks, data):
    place = data.draw(st.integers(0, len(required) - 1))
    hidden = [*required[:place], Decision.NOT_MEASURED, *required[place + 1 :]]
    assert claim(Level.AUDITED, [verdict(hidden, control_leaks=leaks)]) is None


@given(decisions, st.lists(st.sampled_from(Decision), min_size=1, max_size=4), st.data())
def test_a_control_that_did_not_run_never_earns_a_claim(required, leaks, data):
    place = data.draw(st.integers(0, len(leaks) - 1))
    hidden = [*leaks[:place], Decision.NOT_MEASURED, *leaks[place + 1 :]]
    before = claim(Level.AUDITED, [verdict(required, control_leaks=leaks)])
    after = claim(Level.AUDITED, [verdict(required, control_leaks=hidden)])
    assert worth(after) <= worth(before)


@pytest.mark.parametrize("found", list(itertools.product(Verdict, repeat=2)))
def test_audited_is_earned_at_the_first_look(found):
    expected = Level.AUDITED if found[0] is Verdict.ERASED else None
    assert claim(Level.AUDITED, found) is claim(Level.AUDITED, found[:1]) is expected
    assert claim(Level.AUDITED, []) is None


@pytest.mark.parametrize("guarantee", [Level.BITWISE, Level.EXACT, Level.CERTIFIED])
@pytest.mark.parametrize("found", [(), *itertools.product(Verdict), *itertools.product(Verdict, repeat=2)])
def test_a_guarantee_that_stands_alone_falls_to_two_refutations_only(guarantee, found):
    refuted = list(found) == [Verdict.NOT_ERASED] * 2
    assert claim(guarantee, found) is (None if refuted else guarantee)


@given(verdicts)
def test_suppressed_stays_suppressed(found):
    assert claim(Level.SUPPRESSED, found) is Level.SUPPRESSED


@pytest.mark.parametrize("guarantee", Level)
@pytest.mark.parametrize("first", Verdict)
def test_a_second_look_is_for_contradicted_guarantees(guarantee, first):
    assert needs_second_look(guarantee, first) == (guarantee.stands_alone and first is Verdict.NOT_ERASED)


@pytest.mark.parametrize(("better", "sign"), [(Direction.HIGHER, 1), (Direction.LOWER, -1)])
def test_where_only_damage_is_judged_the_other_side_is_open(better, sign):
    def said(low, high):
        edges = sorted((sign * low, sign * high))
        interval = Interval(*edges, 0.95)
        return decide(interval, interval, 1.0, harmless=better)

    assert said(5.0, 9.0) is Decision.PASS
    assert said(-0.9, 9.0) is Decision.PASS
    assert said(-1.1, 9.0) is Decision.INCONCLUSIVE
    assert said(-9.0, -1.1) is Decision.FAIL
