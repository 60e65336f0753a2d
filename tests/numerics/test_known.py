"""Intervals against a known value: the normal law, by arithmetic and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from expunge.numerics import known, membership


def test_the_interval_written_out():
    found = known.difference(0.56, 0.5, error=0.02, alpha=0.025)
    assert found.low == pytest.approx(0.06 - 1.959964 * 0.02, abs=1e-7)
    assert found.high == pytest.approx(0.06 + 1.959964 * 0.02, abs=1e-7)
    assert found.level == 0.95


def test_the_error_of_an_auc_is_that_of_the_rank_sum():
    """Mann and Whitney's variance of U, n1 n0 (n1 + n0 + 1) / 12, over (n1 n0)^2; A3's ±.077 is three of them."""
    assert known.auc_error(250, 250) == pytest.approx(math.sqrt(250 * 250 * 501 / 12) / 250**2)
    assert 3 * known.auc_error(250, 250) == pytest.approx(0.0775, abs=1e-4)
    draw = np.random.default_rng(0)
    aucs = [membership.ranking(draw.normal(size=30), draw.normal(size=70)).auc for _ in range(4000)]
    assert np.std(aucs) == pytest.approx(known.auc_error(30, 70), rel=0.05)
    with pytest.raises(ValueError, match="either side"):
        known.auc_error(0, 3)


def test_a_coin_over_fixed_scores_has_the_same_error():
    scores = np.sort(np.random.default_rng(1).gamma(0.3, size=200))
    draw = np.random.default_rng(2)
    aucs = []
    for _ in range(4000):
        dealt = draw.permutation(scores)
        aucs.append(membership.ranking(dealt[:100], dealt[100:]).auc)
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.003)
    assert np.std(aucs) == pytest.approx(known.auc_error(100, 100), rel=0.05)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("margin", [0.9, 2.0, 4.0])
def test_the_chance_to_pass_is_that_of_simulation(margin, one_sided):
    drawn = np.random.default_rng(3).normal(0, 0.5, 40_000)
    half = stats.norm.ppf(0.95) * 0.5
    inside = (drawn - half >= -margin) & (one_sided | (drawn + half <= margin))
    chance = known.pass_chance(0.5, alpha=0.05, margin=margin, one_sided=one_sided)
    assert chance == pytest.approx(inside.mean(), abs=0.01)


def test_without_an_error_all_or_nothing():
    assert known.pass_chance(0.0, alpha=0.05, margin=0.1) == 1.0


def test_the_smallest_difference_fails_in_as_many_cases_as_it_says():
    far = known.smallest_shown(0.5, alpha=0.01, margin=1.0, power=0.8)
    drawn = far + np.random.default_rng(4).normal(0, 0.5, 40_000)
    fails = drawn - stats.norm.ppf(0.99) * 0.5 > 1.0
    assert fails.mean() == pytest.approx(0.8, abs=0.01)
