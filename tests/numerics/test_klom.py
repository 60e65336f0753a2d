import math

import numpy as np
import pytest
from scipy import stats

from expunge.numerics.klom import (
    binned_kl,
    gaussian_kl,
    gaussian_kl_deviation,
    histogram_counts,
    klom,
    skewed_share,
)


def normal(models, records, *, seed=0):
    return np.random.default_rng(seed).normal(size=(2, models, records))


# --- as published ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 80.0])
def test_it_is_scipys_entropy_of_numpys_histograms(scale):
    u, r = scale * normal(50, 20)
    found = binned_kl(u, retrained=r)
    for j in range(20):
        one, other = np.clip(u[:, j], -100, 100), np.clip(r[:, j], -100, 100)
        bins = np.linspace(min(one.min(), other.min()), max(one.max(), other.max()), 21)
        p, q = (np.histogram(side, bins)[0] / 50 for side in (one, other))
        assert found[j] == pytest.approx(stats.entropy(p, np.where(p > 0, np.maximum(q, 1e-5), q)), rel=1e-9)


def test_no_value_is_lost_at_the_upper_edge():
    u, r = np.round(3 * normal(30, 40))
    low, high = np.minimum(u.min(0), r.min(0)), np.maximum(u.max(0), r.max(0))
    for side in (u, r):
        counts = histogram_counts(side, low=low, width=high - low)
        assert counts.shape == (40, 20)
        np.testing.assert_array_equal(counts.sum(1), 30)


@pytest.mark.parametrize(("models", "null", "shifted"), [(16, 3.80, 4.56), (100, 0.34, 1.18), (500, 0.050, 0.63)])
def test_published_bias(models, null, shifted):
    u, r = normal(models, 1500)
    assert binned_kl(u, retrained=r).mean() == pytest.approx(null, rel=0.08)
    assert binned_kl(u + 1, retrained=r).mean() == pytest.approx(shifted, rel=0.05)


def test_the_null_of_exchanged_models_is_that_of_equal_laws():
    u, r = normal(100, 300)
    found = klom(u, retrained=r, exchanges=10)
    assert found.null_mean == pytest.approx(0.34, abs=0.02)
    assert found.mean == pytest.approx(found.null_mean, abs=0.03)
    assert found.null_high == pytest.approx(0.66, abs=0.06)
    assert found.high == pytest.approx(found.null_high, abs=0.1)
    assert found.null.mean() == pytest.approx(found.null_mean)
    assert 0.05 < found.p_value <= 1


def test_a_shift_stands_out_from_its_null():
    u, r = normal(100, 100)
    found = klom(u + 1, retrained=r)
    assert found.p_value == pytest.approx(1 / 21)
    assert found.mean > 2 * found.null_mean
    np.testing.assert_array_equal(found.value, binned_kl(u + 1, retrained=r))
    np.testing.assert_array_equal(found.null, klom(u + 1, retrained=r).null)


def test_equal_constants_do_not_differ_and_far_ones_do():
    same, apart = binned_kl(np.zeros((16, 2)), retrained=np.array([[0.0, 3.0]] * 16))
    assert same == 0.0
    assert apart == pytest.approx(math.log(1e5), abs=1e-4)


# --- the unbiased replacement ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("models", "deviation"), [(8, 0.41), (16, 0.149), (32, 0.069), (64, 0.033)])
def test_under_the_null_it_is_0_in_the_mean_with_the_stated_deviation(models, deviation):
    u, r = normal(models, 20_000)
    found = gaussian_kl(u, retrained=r)
    stated = gaussian_kl_deviation(models)
    assert found.mean() == pytest.approx(0, abs=4 * stated / math.sqrt(20_000))
    # With 8 models the spread of such a sample has no variance of its own.
    assert found.std() == pytest.approx(stated, rel=0.12 if models == 8 else 0.04)
    assert stated == pytest.approx(deviation, abs=0.0035)
    assert (found < 0).mean() > 0.3, "single values are not clipped"


@pytest.mark.parametrize(("shift", "spread"), [(1.0, 1.0), (0.0, 2.0), (0.5, 0.5), (-1.0, 1.5)])
@pytest.mark.parametrize("models", [8, 16, 64])
def test_it_is_unbiased_for_two_normal_laws(shift, spread, models):
    u, r = normal(models, 20_000, seed=models)
    exact = -math.log(spread) + (spread**2 + shift**2) / 2 - 0.5
    found = gaussian_kl(3 + 2 * (shift + spread * u), retrained=3 + 2 * r)
    assert found.mean() == pytest.approx(exact, abs=4 * found.std() / math.sqrt(20_000))


def test_it_is_the_formula():
    u, r = normal(10, 3)
    for j in range(3):
        v_u, v_r = u[:, j].var(ddof=1), r[:, j].var(ddof=1)
        apart = u[:, j].mean() - r[:, j].mean()
        expected = 0.5 * (7 / 9 * 0.9 * v_u / v_r + 7 / 9 * apart**2 / v_r - 0.1 - 1 + math.log(v_r / v_u))
        assert gaussian_kl(u, retrained=r)[j] == pytest.approx(expected)


def test_a_side_that_does_not_vary_says_nothing():
    u, r = normal(8, 3)
    u[:, 0], r[:, 1] = 0.1, 0.1
    assert np.isnan(gaussian_kl(u, retrained=r)).tolist() == [True, True, False]


def test_skewed_records_are_counted():
    draw = np.random.default_rng(1)
    assert skewed_share(draw.normal(size=(64, 4000))) == pytest.approx(0.01, abs=0.008)
    assert skewed_share(draw.exponential(size=(64, 400))) > 0.9
    assert math.isnan(skewed_share(np.zeros((8, 2))))


def test_what_it_refuses():
    u, r = normal(16, 3)
    with pytest.raises(ValueError, match="needs 16 models"):
        klom(u[1:], retrained=r[1:])
    with pytest.raises(ValueError, match="needs 6 models"):
        gaussian_kl(u[:5], retrained=r[:5])
    with pytest.raises(ValueError, match="needs 6 models"):
        gaussian_kl_deviation(5)
    with pytest.raises(ValueError, match="needs 8 models"):
        skewed_share(u[:7])
    with pytest.raises(ValueError, match="as many models on both sides"):
        gaussian_kl(u, retrained=r[:10])
    with pytest.raises(ValueError, match="NaN"):
        binned_kl(u * np.nan, retrained=r)
    with pytest.raises(ValueError, match="1 exchange"):
        klom(u, retrained=r, exchanges=0)
