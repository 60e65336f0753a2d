import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from expunge.numerics.equivalence import (
    MIN_REFERENCES,
    beyond_seeds,
    clustered_error,
    difference,
    half_width,
    largest_record_error,
    leave_one_out,
    paired_error,
    pass_chance,
    sample_error,
    seed_error,
    smallest_shown,
    unseen_error,
)

VALUES = st.lists(st.floats(-10, 10), min_size=3, max_size=20)


# --- by hand --------------------------------------------------------------------------------------------------


def test_the_interval_by_hand():
    found = difference(5.0, [1.0, 2.0, 3.0], record_error=0.0, alpha=0.05)
    half = 2.919985580353725 * 1.0 * math.sqrt(4 / 3)  # t(0.95, 2) from a printed table: 2.920
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    assert found.level == pytest.approx(0.9)


def test_scale_and_record_error_widen():
    plain = difference(0.0, [1.0, 2.0, 3.0], record_error=0.0, alpha=0.05)
    scaled = difference(0.0, [1.0, 2.0, 3.0], record_error=0.0, alpha=0.05, scale=2.0)
    recorded = difference(0.0, [1.0, 2.0, 3.0], record_error=2.0, alpha=0.05)
    width = plain.high - plain.low
    assert scaled.high - scaled.low == pytest.approx(2 * width)
    assert recorded.high - recorded.low == pytest.approx(width * math.sqrt(1 + 4 / (4 / 3)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_references_have_no_spread(count):
    assert count < MIN_REFERENCES
    with pytest.raises(ValueError, match="references"):
        seed_error([1.0] * count)


@given(VALUES)
def test_leave_one_out_by_brute_force(values):
    expected = [v - np.mean(values[:i] + values[i + 1 :]) for i, v in enumerate(values)]
    np.testing.assert_allclose(leave_one_out(values), expected, atol=1e-12)


def test_the_paired_error_is_the_standard_error_of_the_mean():
    rows = np.array([0.0, 1.0, 1.0, 4.0])
    assert paired_error(rows) == pytest.approx(stats.sem(rows))
    assert paired_error(rows[:1]) == 0.0


# --- coverage -------------------------------------------------------------------------------------------------


def draws(count, repeats, seed=0, sigma=0.7):
    """References and a new retrain, all of one Gaussian law."""
    draw = np.random.default_rng(seed)
    return draw.normal(3.0, sigma, (repeats, count)), draw.normal(3.0, sigma, repeats)


@pytest.mark.parametrize("count", [3, 5, 10, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_a_new_retrain_falls_in_the_interval_at_the_stated_rate(count, alpha):
    repeats = 4000
    references, new = draws(count, repeats)
    inside = 0
    for row, value in zip(references, new, strict=True):
        interval = difference(value, row, record_error=0.0, alpha=alpha)
        inside += interval.low <= 0 <= interval.high  # for a true retrain the difference is 0 in the mean
    stated = 1 - 2 * alpha
    assert inside / repeats == pytest.approx(stated, abs=4 * math.sqrt(stated * (1 - stated) / repeats))


def test_an_interval_without_the_new_seeds_own_spread_would_not_cover():
    # The t interval of the mean alone, which a paired test over references would use.
    references, new = draws(5, 2000)
    half = stats.t.ppf(0.95, 4) * references.std(1, ddof=1) / math.sqrt(5)
    assert np.mean(np.abs(new - references.mean(1)) <= half) < 0.65


def passes(references, new, *, margin, alpha, record_error=0.0):
    found = [difference(v, row, record_error=record_error, alpha=alpha) for row, v in zip(references, new, strict=True)]
    return np.mean([-margin <= interval.low and interval.high <= margin for interval in found])


@pytest.mark.parametrize("count", [3, 5, 20])
@pytest.mark.parametrize("margin", [2.5, 3.5, 5.0, 8.0])
@pytest.mark.parametrize("record_error", [0.0, 0.5])
def test_the_chance_to_pass_agrees_with_simulation(count, margin, record_error):
    sigma = 1.0
    references, new = draws(count, 4000, sigma=sigma)
    # One set of references whose spread is the true one, so that the stated chance is that of the simulation.
    known = np.linspace(-1, 1, count)
    known = known / known.std(ddof=1) * sigma
    chance = pass_chance(known, record_error=record_error, alpha=0.05, margin=margin)
    simulated = passes(references, new, margin=margin, alpha=0.05, record_error=record_error)
    assert chance == pytest.approx(simulated, abs=0.02)


def test_the_rule_of_thumb_in_seed_deviations():
    # DESIGN: with five references a margin of about 5 standard deviations, with twenty of about 4.
    def chance(count, margin):
        known = np.linspace(-1, 1, count)
        return pass_chance(known / known.std(ddof=1), record_error=0.0, alpha=0.05, margin=margin)

    assert 0.75 < chance(5, 5.0) < 0.99
    assert 0.9 < chance(20, 4.0) < 0.99
    assert chance(5, 2.0) < 0.2


@given(VALUES, st.floats(0, 2), st.floats(0.01, 20))
def test_the_chance_is_a_probability_that_grows_with_the_margin(values, record_error, margin):
    low, high = (pass_chance(values, record_error=record_error, alpha=0.05, margin=m) for m in (margin, 2 * margin))
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-9


@pytest.mark.parametrize(("record_error", "chance"), [(0.0, 1.0), (0.1, 1.0), (10.0, 0.0)])
def test_equal_references_leave_the_record_error_alone(record_error, chance):
    assert pass_chance([2.0] * 5, record_error=record_error, alpha=0.05, margin=1.0) == chance


@pytest.mark.parametrize("count", [5, 20])
def test_the_smallest_difference_shown_is_called_a_failure_at_its_power(count):
    sigma, margin, alpha = 1.0, 4.0, 0.01
    known = np.linspace(-1, 1, count)
    known = known / known.std(ddof=1) * sigma
    shift = smallest_shown(known, record_error=0.0, alpha=alpha, margin=margin)
    references, new = draws(count, 4000, sigma=sigma)
    found = [difference(v + shift, r, record_error=0.0, alpha=alpha) for r, v in zip(references, new, strict=True)]
    assert np.mean([interval.low > margin for interval in found]) == pytest.approx(0.8, abs=0.04)
    assert shift > margin


def test_a_true_retrain_is_hardly_ever_called_a_failure():
    references, new = draws(5, 4000)
    found = [difference(v, r, record_error=0.0, alpha=0.05) for r, v in zip(references, new, strict=True)]
    margin = 1e-9  # the worst case: any real margin makes it rarer
    assert np.mean([i.low > margin or i.high < -margin for i in found]) == pytest.approx(0.1, abs=0.02)


def test_records_that_never_differ_still_leave_an_error():
    assert sample_error(np.zeros(1)) == pytest.approx(math.sqrt(3))
    assert sample_error(np.zeros(50)) == pytest.approx(math.sqrt(3) / 50)
    assert sample_error(np.zeros(50), unseen=1) == pytest.approx(1 / 50)
    spread = np.array([0.0, 1.0] * 50)
    assert sample_error(spread) == pytest.approx(math.hypot(stats.sem(spread), math.sqrt(3) / 100))


@pytest.mark.parametrize("count", [50, 200, 1000])
@pytest.mark.parametrize("events", [2, 4, 8, 16])
def test_few_events_in_one_direction_are_not_missed_much_more_often_than_stated(count, events):
    """Damage of events/count: how often the upper end of the interval misses it (binomial law, no seeds)."""
    seen, quantile = np.arange(2 * events), stats.norm.ppf(0.975)

    def missed(error):
        ends = [n / count + quantile * error((np.arange(count) < n).astype(float)) for n in seen]
        return sum(
            stats.binom.pmf(n, count, events / count) for n, end in zip(seen, ends, strict=True) if end < events / count
        )

    assert missed(sample_error) < 0.045
    if events <= 8:
        assert missed(lambda rows: max(paired_error(rows), 1 / count)) > 1.9 * missed(sample_error)


# --- records and seeds, once each ---------------------------------------------------------------------------------


def audited(draw, *, references, units, size=1, damage=0.0):
    """Right answers of retrained models and of one that lost a share of the subjects: value, means, record error."""
    known = np.repeat(draw.beta(0.35, 0.15, units), size)  # how likely a retrained model is right on each
    right = (draw.random((references + 1, units * size)) < known).astype(float)
    right[0, np.repeat(draw.random(units) < damage, size)] = 0.0
    names = [f"r{k}" for k in range(references)]
    total = right[1:].sum(axis=0)
    clusters = np.repeat(np.arange(units), size)
    plain = {"c": clustered_error(right[0] - total / references, clusters)}
    for name, row in zip(names, right[1:], strict=True):
        plain[name] = clustered_error(row - (total - row) / (references - 1), clusters)
    return right[0].mean(), right[1:].mean(axis=1), plain, names


@pytest.mark.parametrize(("references", "units", "size"), [(8, 200, 1), (20, 100, 3)])
def test_what_seeds_do_to_records_counts_once(references, units, size):
    draw = np.random.default_rng(references)
    covered, before, left, whole = [], [], [], []
    for _ in range(300):
        value, means, plain, names = audited(draw, references=references, units=units, size=size)
        error = beyond_seeds(plain, names)["c"]
        left.append(error**2)
        whole.append(plain["c"] ** 2)
        for kept, e in ((covered, error), (before, plain["c"])):
            interval = difference(value, means.tolist(), record_error=e, alpha=0.025)
            kept.append(interval.low <= 0 <= interval.high)
    assert np.mean(left) < 0.2 * np.mean(whole)
    assert np.mean(covered) > 0.93, "stated 0.95"
    assert np.mean(before) > 0.985, "counted twice, the interval is far wider than stated"


def test_damage_to_some_subjects_is_an_error_that_seeds_do_not_explain():
    draw = np.random.default_rng(7)
    away, whole, missed = [], [], []
    for _ in range(300):
        value, means, plain, names = audited(draw, references=20, units=300, damage=0.1)
        error = beyond_seeds(plain, names)["c"]
        away.append(value - means.mean())
        whole.append(seed_error(means.tolist()) ** 2 + error**2)
        interval = difference(value, means.tolist(), record_error=error, alpha=0.025)
        missed.append(interval.low > -0.07)  # a tenth of what it would have said right, 0.7
    assert np.mean(whole) == pytest.approx(np.var(away, ddof=1), rel=0.25)
    assert np.mean(missed) < 0.06, "stated 0.025: damage of 0.07 is shown to be less"


def test_what_is_left_by_hand():
    errors = {"c": 3.0, "r1": 1.0, "r2": 2.0, "r3": 2.0}
    found = beyond_seeds(errors, ("r1", "r2", "r3"))
    assert found["c"] == pytest.approx(math.sqrt(9 - 8 / 9 * 3))
    assert found["r1"] == 0.0
    assert found["r2"] == pytest.approx(math.sqrt(4 - 2.5))
    assert set(found) == set(errors)


# --- subjects and few records -----------------------------------------------------------------------------------


def test_the_half_width_of_arrays_is_that_of_each():
    spread, errors = np.array([0.0, 0.3, 2.0]), np.array([0.1, 0.0, 1.0])
    each = [float(half_width(s, 7, record_error=e, alpha=0.02)) for s, e in zip(spread, errors, strict=True)]
    np.testing.assert_allclose(half_width(spread, 7, record_error=errors, alpha=0.02), each, rtol=1e-15)
    references = [0.1, 0.4, 0.2, 0.9, 0.3]
    interval = difference(0.3, references, record_error=0.2, alpha=0.02)
    half = half_width(np.std(references, ddof=1), 5, record_error=0.2, alpha=0.02)
    assert (interval.high - interval.low) / 2 == pytest.approx(float(half))


@given(st.floats(0, 1), st.integers(3, 50), st.floats(0.001, 5))
def test_the_largest_record_error_has_the_half_width_asked_for(spread, count, half):
    error = largest_record_error(spread, count, half=half, alpha=0.025)
    alone = float(half_width(spread, count, record_error=0.0, alpha=0.025))
    if alone < half:
        assert float(half_width(spread, count, record_error=error, alpha=0.025)) == pytest.approx(half)
    else:
        assert error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 10])
def test_with_clusters_of_one_size_the_error_is_that_of_the_mean_of_their_means(size):
    draw = np.random.default_rng(0)
    rows, clusters = draw.normal(size=12 * size), draw.permutation(np.repeat(np.arange(12), size))
    means = [rows[clusters == cluster].mean() for cluster in range(12)]
    assert clustered_error(rows, clusters) == pytest.approx(stats.sem(means))
    if size == 1:
        assert clustered_error(rows, clusters) == pytest.approx(paired_error(rows))
    assert clustered_error(rows) == paired_error(rows)


def test_clusters_of_unequal_size_by_hand():
    rows, clusters = np.array([1.0, 2.0, 3.0, 6.0, 8.0]), np.array([0, 0, 0, 1, 2])
    sums = [1 + 2 + 3 - 3 * 4, 6 - 4, 8 - 4]
    assert clustered_error(rows, clusters) == pytest.approx(math.sqrt(3 / 2 * sum(s * s for s in sums)) / 5)


def test_the_clustered_error_is_that_over_draws_of_subjects():
    draw = np.random.default_rng(1)
    clusters = np.repeat(np.arange(40), 10)
    own, plain, means = [], [], []
    for _ in range(1000):
        rows = math.sqrt(0.3) * draw.normal(size=40)[clusters] + math.sqrt(0.7) * draw.normal(size=400)
        own.append(clustered_error(rows, clusters) ** 2)
        plain.append(paired_error(rows) ** 2)
        means.append(rows.mean())
    assert np.mean(own) == pytest.approx(np.var(means), rel=0.15)
    assert np.mean(plain) < 0.35 * np.var(means), "records of a subject say the same thing ten times"


def test_one_subject_vouches_for_nobody_else():
    rows = np.random.default_rng(0).normal(0, 0.01, 500)
    assert clustered_error(rows, np.zeros(500, int)) == 0.0
    assert sample_error(rows, np.zeros(500, int)) == pytest.approx(math.sqrt(3))
    assert sample_error(rows, np.arange(500) // 25) == pytest.approx(math.sqrt(3) / 20, rel=1e-3)
    assert sample_error(rows) == pytest.approx(math.sqrt(3) / 500, rel=0.02)


@pytest.mark.parametrize("count", [3, 5, 20, 50])
@pytest.mark.parametrize("n", [1, 5])
def test_references_that_agree_leave_what_they_could_not_see(count, n):
    """A rate q per record at which K answers agree with probability alpha is inside the interval (Clopper-Pearson)."""
    alpha = 0.025
    hidden = (1 - alpha ** (1 / count)) / n
    half = float(half_width(0.0, count, record_error=unseen_error(n, count), alpha=alpha))
    assert hidden == pytest.approx(stats.binomtest(0, count).proportion_ci(1 - 2 * alpha).high / n)
    assert 1.05 * hidden < half < 4.2 * hidden
