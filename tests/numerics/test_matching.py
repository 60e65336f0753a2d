import numpy as np
import pytest
from scipy import stats

from expunge.numerics.matching import Kind, distance, gap, lean


def kind(mine, theirs, weights=None):
    mine, theirs = np.asarray(mine, dtype=float), np.asarray(theirs, dtype=float)
    return Kind(mine, theirs, np.ones(len(theirs)) if weights is None else np.asarray(weights, dtype=float))


def area(mine, theirs, weights):
    """The area between the two distribution functions, on a fine grid."""
    grid = np.linspace(-12, 12, 480_001)
    mine, order = np.sort(mine), np.argsort(theirs)
    below = np.concatenate([[0.0], np.cumsum(weights[order]) / weights.sum()])
    gap = np.searchsorted(mine, grid, side="right") / len(mine) - below[np.searchsorted(theirs[order], grid, "right")]
    return float(np.abs(gap).sum() * (grid[1] - grid[0]))


def test_a_shift_is_as_far_as_it_is_long():
    values = np.random.default_rng(0).normal(size=40)
    assert distance([kind(values, values)]) == 0.0
    assert distance([kind(values + 0.7, values)]) == pytest.approx(0.7)
    assert distance([kind(values, values - 3.0)]) == pytest.approx(3.0)


def test_the_distance_of_two_normals_with_one_mean_is_that_of_their_spreads():
    # W1 = |s1 - s2| E|Z| = |s1 - s2| sqrt(2 / pi), on quantiles so fine that no chance is left
    z = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert distance([kind(2.0 * z, z)]) == pytest.approx(np.sqrt(2 / np.pi), rel=1e-4)


def test_weights_are_how_often_a_counterpart_counts():
    draw = np.random.default_rng(1)
    mine, theirs, weights = draw.normal(size=30), draw.normal(1.0, 2.0, size=20), draw.integers(1, 4, size=20)
    repeated = np.repeat(theirs, weights)
    assert distance([kind(mine, theirs, weights)]) == pytest.approx(stats.wasserstein_distance(mine, repeated))
    assert distance([kind(mine, theirs, weights)]) == pytest.approx(area(mine, theirs, weights), abs=1e-3)
    assert distance([kind(mine, theirs, weights)]) == pytest.approx(distance([kind(mine, theirs, weights / 7)]))
    assert abs(distance([kind(mine, theirs, weights)]) - distance([kind(mine, theirs)])) > 0.01


def test_kinds_weigh_by_their_records_and_do_not_cancel():
    up, down = kind([1.0] * 3, [0.0]), kind([0.0], [1.0, 1.0])
    assert distance([up]) == distance([down]) == 1.0
    assert distance([up, down]) == 1.0
    pooled = kind([1.0, 1.0, 1.0, 0.0], [0.0, 1.0], [3.0, 1.0])
    assert distance([pooled]) == pytest.approx(0.5), "what one kind has too much of, the other has too little"
    assert distance([up, kind([0.5], [0.5])]) == pytest.approx(0.75)


def test_the_largest_gap_is_kolmogorovs_and_asks_for_order_alone():
    draw = np.random.default_rng(2)
    mine, theirs, weights = draw.normal(size=30), draw.normal(0.5, 2.0, size=20), draw.integers(1, 4, size=20)
    found = gap([kind(mine, theirs, weights)])
    assert found == pytest.approx(stats.ks_2samp(mine, np.repeat(theirs, weights)).statistic)
    assert gap([kind(np.exp(mine), np.exp(theirs), weights)]) == pytest.approx(found)
    assert gap([kind([4.0, 5.0], [7.0, 8.0])]) == gap([kind([4.0, 5.0], [70.0, 80.0])]) == 1.0
    assert gap([kind([1.0, 2.0], [2.0, 1.0])]) == 0.0
    assert gap([kind([1.0] * 3, [0.0]), kind([0.0], [0.0])]) == pytest.approx(0.75), "kinds weigh by their records"


@pytest.mark.parametrize("measure", [distance, gap])
def test_nothing_to_compare_is_no_distance_of_nought(measure):
    with pytest.raises(ValueError, match="nothing to compare"):
        measure([])


def test_who_scores_more_is_the_area_under_the_curve_less_a_half():
    draw = np.random.default_rng(4)
    mine, theirs, weights = draw.integers(0, 9, 30), draw.integers(2, 11, 20), draw.integers(1, 4, 20)
    u = stats.mannwhitneyu(mine, np.repeat(theirs, weights)).statistic
    area_under = u / (len(mine) * weights.sum())
    assert lean([kind(mine, theirs, weights)]) == pytest.approx(area_under - 0.5)
    assert lean([kind(mine, theirs)]) < 0 < lean([kind(theirs, mine)])
    assert lean([kind(mine, mine)]) == pytest.approx(0.0)
    assert lean([kind([np.inf, -np.inf], [np.inf, 0.0])]) == pytest.approx((0.75 + 0.0) / 2 - 0.5)
    assert [lean([kind(mine + by, theirs)]) for by in (100, -100)] == [0.5, -0.5]
    both = [kind([9.0], [1.0]), kind([0.0, 0.0, 0.0], [1.0])]
    assert lean(both) == pytest.approx((1 * 0.5 - 3 * 0.5) / 4), "records count alike"
