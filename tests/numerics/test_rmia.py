import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from expunge.numerics.membership import ranking
from expunge.numerics.rmia import log_ratio, rmia, rmia_p_value, tuned_scale

TIED = st.lists(st.sampled_from([-2.0, 0.0, 0.1, 0.3]) | st.floats(-5, 5), min_size=1, max_size=30)


def draws(models, records, *, shift=0.0, seed=0):
    """Log-probabilities [K, N] with masks."""
    draw = np.random.default_rng(seed)
    keep = draw.random((models, records)) < 0.5
    return special.log_expit(draw.normal(size=keep.shape) + 2 * draw.normal(size=records) + shift * keep), keep


# --- the share of the population ------------------------------------------------------------------------------


def pairwise(x, z, gamma):
    return np.array([sum(float(a > b + math.log(gamma)) for b in z) / len(z) for a in x])


@given(TIED, TIED, st.sampled_from([1.0, 1.0, 2.0, 0.5]))
def test_by_sorting_as_by_pairs(x, z, gamma):
    np.testing.assert_array_equal(rmia(x, population=z, gamma=gamma), pairwise(x, z, gamma))


@given(TIED, TIED)
def test_at_gamma_one_it_is_the_quotient_of_ratios(x, z):
    ratios = np.exp(np.array(x))[:, None] / np.exp(np.array(z))[None]
    # exp may round two logarithms to one: such pairs tie, and none is decided the other way.
    assert (rmia(x, population=z) >= (ratios > 1).mean(1) - 1e-12).all()
    assert (rmia(x, population=z) <= (ratios >= 1).mean(1) + 1e-12).all()


def test_by_sorting_as_by_pairs_on_many():
    draw = np.random.default_rng(0)
    x, z = draw.normal(size=200), draw.normal(size=300)
    for gamma in (1.0, 1.7):
        expected = (x[:, None] > (z + math.log(gamma))[None]).sum(1) / 300
        np.testing.assert_array_equal(rmia(x, population=z, gamma=gamma), expected)


def test_the_order_within_one_target_is_that_of_the_ratio_alone():
    draw = np.random.default_rng(1)
    member = draw.random(5000) < 0.5
    x, z = draw.normal(size=5000) + member, draw.normal(size=5000)
    share = rmia(x, population=z)
    plain = ranking(x[member], x[~member]).auc
    assert ranking(share[member], share[~member]).auc == pytest.approx(plain, abs=1e-3)
    assert plain == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.02)


def test_the_p_value_is_uniform_on_unseen_records():
    draw = np.random.default_rng(2)
    p = np.array([rmia_p_value(draw.normal(size=1), population=draw.normal(size=99))[0] for _ in range(1000)])
    assert stats.kstest(p - draw.random(1000) / 100, "uniform").pvalue > 0.01  # spread over the steps of 1/100
    assert p.min() >= 0.01
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level + 1e-12) == pytest.approx(level, abs=4 * math.sqrt(level / 1000))


@given(TIED, TIED)
def test_the_p_value_counts_ties_against_the_attack(x, z):
    expected = [(1 + sum(b >= a for b in z)) / (len(z) + 1) for a in x]
    np.testing.assert_allclose(rmia_p_value(x, population=z), expected, rtol=1e-15)


# --- the ratio ------------------------------------------------------------------------------------------------


def literal(p_target, p, keep, scale, offline):
    result = []
    for j in range(len(p_target)):
        inside, outside = p[keep[:, j], j], p[~keep[:, j], j]
        p_out = outside.mean() if len(outside) else (max(inside.mean() + scale - 1, 0) / scale if scale else 0.0)
        p_in = inside.mean() if len(inside) and not offline else scale * p_out + 1 - scale
        none = offline and not len(outside)
        result.append(math.nan if none else math.log(p_target[j] / ((p_in + p_out) / 2)))
    return result


@pytest.mark.parametrize("models", [1, 2, 5])
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("offline", [True, False])
def test_it_is_the_definition_with_ragged_counts(models, scale, offline):
    logp, keep = draws(models + 1, 60, shift=1, seed=models)
    found = log_ratio(logp[0], references=logp[1:], keep=keep[1:], scale=scale, offline=offline)
    expected = literal(np.exp(logp[0]), np.exp(logp[1:]), keep[1:], scale, offline)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_mask_means_that_no_reference_saw_anything():
    logp, _ = draws(4, 30)
    none = np.zeros((3, 30), dtype=bool)
    found = log_ratio(logp[0], references=logp[1:])
    np.testing.assert_array_equal(found, log_ratio(logp[0], references=logp[1:], keep=none))
    np.testing.assert_allclose(found, log_ratio(logp[0], references=logp[1:], keep=none, offline=True), atol=1e-12)


def test_a_larger_scale_of_one_compares_with_the_references_alone():
    logp, _ = draws(4, 30)
    mean = np.log(np.exp(logp[1:]).mean(0))
    np.testing.assert_allclose(log_ratio(logp[0], references=logp[1:], scale=1.0), logp[0] - mean, atol=1e-12)


def test_probabilities_of_sequences_do_not_vanish():
    found = log_ratio([-2000.0, -2010.0], references=[[-2005.0, -2000.0]], scale=1.0)
    np.testing.assert_allclose(found, [5.0, -10.0])


def test_a_reference_that_saw_the_record_never_gives_a_negative_probability():
    # (P_in + a - 1) / a is -1.8 here.
    found = log_ratio([-0.1], references=[[math.log(0.15)]], keep=np.array([[True]]), scale=0.3)
    np.testing.assert_allclose(found, [-0.1 - math.log(0.15 / 2)])


@pytest.mark.parametrize("models", [1, 2, 8])
def test_members_have_the_larger_ratios(models):
    logp, keep = draws(models + 1, 20_000, shift=2, seed=models)
    for offline in (True, False):
        found = log_ratio(logp[0], references=logp[1:], keep=keep[1:], offline=offline)
        known = ~np.isnan(found)
        attacked = ranking(found[keep[0] & known], found[~keep[0] & known]).auc
        assert attacked > ranking(logp[0][keep[0]], logp[0][~keep[0]]).auc + 0.01


def test_without_a_signal_it_is_chance_and_the_cut_keeps_its_rate():
    logp, keep = draws(5, 20_000, seed=3)
    found = log_ratio(logp[0], references=logp[1:], keep=np.zeros_like(keep[1:]), offline=True)
    assert ranking(found[keep[0]], found[~keep[0]]).auc == pytest.approx(0.5, abs=0.017)
    p = rmia_p_value(found[:5000], population=found[5000:])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.013)


def test_the_scale_is_tuned_on_a_held_out_reference():
    logp, keep = draws(6, 4000, shift=2, seed=4)
    found = tuned_scale(logp[0], member=keep[0], references=logp[1:], keep=keep[1:])

    def auc(scale):
        ratio = log_ratio(logp[0], references=logp[1:], keep=keep[1:], offline=True, scale=scale)
        known = ~np.isnan(ratio)
        return ranking(ratio[keep[0] & known], ratio[~keep[0] & known]).auc

    assert auc(found) == max(auc(scale / 10) for scale in range(11))


def test_what_it_refuses():
    logp, keep = draws(4, 5)
    with pytest.raises(ValueError, match="same model"):
        log_ratio(logp[1], references=logp, keep=keep)
    with pytest.raises(ValueError, match="at most 0"):
        log_ratio(-logp[0], references=logp[1:])
    with pytest.raises(ValueError, match=r"scale is in \[0, 1\]"):
        log_ratio(logp[0], references=logp[1:], scale=1.5)
    with pytest.raises(ValueError, match="takes booleans"):
        log_ratio(logp[0], references=logp[1:], keep=keep)
    with pytest.raises(ValueError, match="none of them empty"):
        log_ratio(logp[0], references=logp[:0])
    with pytest.raises(ValueError, match="gamma is positive"):
        rmia([0.0], population=[1.0], gamma=0.0)
    with pytest.raises(ValueError, match="NaN"):
        rmia([math.nan], population=[1.0])
    with pytest.raises(ValueError, match="members and non-members"):
        tuned_scale(logp[0], member=np.zeros(5, dtype=bool), references=logp[1:], keep=keep[1:])
