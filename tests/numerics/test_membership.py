import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats
from sklearn.metrics import roc_auc_score, roc_curve

from expunge.numerics.membership import (
    FLOOR,
    confidence,
    deviation,
    ranking,
    resolvable,
    spread,
    tpr_at,
    tpr_null,
)

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]) | st.floats(-5, 5), min_size=2, max_size=30)


# --- the signal -----------------------------------------------------------------------------------------------


@given(arrays(np.float64, (4, 3), elements=st.floats(-9, 9)), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_confidence_is_the_log_odds_of_the_label(logits, labels):
    target = np.array(labels)
    before = logits.copy()
    phi = confidence(logits, target)
    np.testing.assert_array_equal(logits, before)
    p = special.softmax(logits, axis=1)
    others = np.array([np.delete(row, label).sum() for row, label in zip(p, target, strict=True)])
    expected = np.log(p[np.arange(4), target]) - np.log(others)
    np.testing.assert_allclose(phi, expected, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_confidence_is_finite_at_large_logits(sign):
    # A softmax in float32 gives p = 1, and infinity.
    phi = confidence(np.array([[sign * 1e4, 0.0, 1.0]]), np.array([0]))
    assert phi == pytest.approx([sign * 1e4 - np.log1p(np.e)])


def test_confidence_of_two_classes_is_their_difference():
    np.testing.assert_array_equal(confidence(np.array([[3.0, 1.0], [3.0, 1.0]]), np.array([0, 1])), [2.0, -2.0])


# --- the AUC --------------------------------------------------------------------------------------------------


@given(SCORES, SCORES)
def test_the_auc_is_sklearns_with_ties(members, strangers):
    labels = [1] * len(members) + [0] * len(strangers)
    expected = roc_auc_score(labels, members + strangers)
    assert ranking(np.array(members), np.array(strangers)).auc == pytest.approx(expected, abs=1e-12)


@given(SCORES, SCORES)
def test_components_are_delongs(members, strangers):
    x, y = np.array(members), np.array(strangers)
    kernel = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])  # DeLong 1988, equation 2
    found = ranking(x, y)
    np.testing.assert_allclose(found.member, kernel.mean(1), atol=1e-12)
    np.testing.assert_allclose(found.stranger, kernel.mean(0), atol=1e-12)
    assert found.auc == pytest.approx(found.stranger.mean())


def test_the_direction():
    assert ranking(np.array([2.0, 3.0]), np.array([0.0, 1.0])).auc == 1.0
    assert ranking(np.array([0.0]), np.array([1.0, 2.0])).auc == 0.0
    assert ranking(np.array([1.0]), np.array([1.0])).auc == 0.5


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.0, 1.0), (0.7, 2.0)])
def test_gaussian_closed_forms(shift, spread):
    draw = np.random.default_rng(1)
    members, strangers = draw.normal(shift, spread, 40_000), draw.normal(size=40_000)
    expected = stats.norm.cdf(shift / np.hypot(1, spread))
    assert ranking(members, strangers).auc == pytest.approx(expected, abs=0.01)
    for fpr in (0.01, 0.1):
        tpr = stats.norm.sf((stats.norm.isf(fpr) - shift) / spread)
        assert tpr_at(members, strangers, fpr) == pytest.approx(tpr, abs=0.01)


@pytest.mark.parametrize("shift", [0.0, 1.2])
def test_the_variance_from_components_is_that_of_repeated_draws(shift):
    draw = np.random.default_rng(2)
    aucs, variances = [], []
    for _ in range(1500):
        found = ranking(draw.normal(shift, 1, 60), draw.normal(size=90))
        aucs.append(found.auc)
        variances.append(found.member.var(ddof=1) / 60 + found.stranger.var(ddof=1) / 90)
    assert np.mean(variances) == pytest.approx(np.var(aucs, ddof=1), rel=0.12)
    if shift == 0:  # the closed form without a difference
        assert np.mean(variances) == pytest.approx((60 + 90 + 1) / (12 * 60 * 90), rel=0.05)


# --- low false positive rates ---------------------------------------------------------------------------------


@given(SCORES, SCORES, st.floats(0, 0.99))
def test_no_more_strangers_pass_than_allowed(members, strangers, fpr):
    x, y = np.array(members), np.array(strangers)
    allowed = int(np.floor(fpr * len(y) + 1e-9))
    threshold = np.sort(y)[len(y) - allowed - 1]
    assert (y > threshold).sum() <= allowed
    assert tpr_at(x, y, fpr) == pytest.approx((x > threshold).mean())


def test_the_rate_is_sklearns_without_ties():
    draw = np.random.default_rng(3)
    members, strangers = draw.normal(1, 1, 300), draw.normal(size=500)
    fpr, tpr, _ = roc_curve([1] * 300 + [0] * 500, np.concatenate([members, strangers]), drop_intermediate=False)
    for rate in (0.0, 0.01, 0.05, 0.5):
        assert tpr_at(members, strangers, rate) == pytest.approx(tpr[fpr <= rate + 1e-12].max())


def test_all_false_positives_allowed_means_all_members_found():
    assert tpr_at(np.array([0.0, 1.0]), np.array([5.0, 6.0]), 1.0) == 1.0
    assert tpr_null(1.0, 10, 20) == (1.0, 1.0)


def test_ties_at_the_threshold_do_not_pass():
    assert tpr_at(np.array([1.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0]), 0.0) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("members", "strangers", "fpr"), [(250, 250, 0.01), (100, 300, 0.05), (60, 200, 0.1)])
def test_the_null_of_the_rate_by_simulation(members, strangers, fpr):
    draw = np.random.default_rng(4)
    found = [tpr_at(draw.normal(size=members), draw.normal(size=strangers), fpr) for _ in range(4000)]
    mean, high = tpr_null(fpr, members, strangers)
    assert np.mean(found) == pytest.approx(mean, abs=4 * np.std(found) / np.sqrt(4000))
    assert mean > fpr, "always above the rate"
    assert np.mean(np.array(found) > high) <= 0.06
    assert np.mean(np.array(found) >= high) >= 0.045


@pytest.mark.parametrize(
    ("strangers", "fpr", "critical"),
    [(250, 0.01, 0.032), (1000, 0.01, 0.019), (1000, 0.001, 0.006), (2000, 0.001, 0.004)],
)
def test_published_critical_rates(strangers, fpr, critical):
    assert tpr_null(fpr, strangers, strangers)[1] == pytest.approx(critical, abs=0.0011)


@pytest.mark.parametrize(
    ("fpr", "strangers", "answer"),
    [
        (0.01, 1000, "yes"),
        (0.01, 999, "imprecise"),
        (0.01, 300, "imprecise"),
        (0.01, 299, "no"),
        (0.001, 10_000, "yes"),
        (0.1, 100, "yes"),
        (0.1, 0, "no"),
    ],
)
def test_a_rate_needs_ten_false_positives(fpr, strangers, answer):
    assert resolvable(fpr, strangers) == answer


def test_records_whose_spread_was_drawn_small_do_not_rule():
    confidences = np.array([[0.0, -3.0, 5.0], [0.0, 3.0, -5.0], [0.0, 0.0, 0.0]])
    scale = spread(confidences)
    assert scale[0] > 0.5 * scale.max(), "shrunk half-way towards the spread of all"
    assert spread(np.zeros((4, 2))) == pytest.approx(FLOOR)


@pytest.mark.parametrize("count", [3, 8, 40])
def test_deviations_of_the_same_law_have_unit_variance_for_any_number_of_references(count):
    draw = np.random.default_rng(count)
    models = draw.normal(5.0, 3.0, (200, count + 1, 50))
    z = np.array([deviation(rows[0], rows[1:]) for rows in models])
    assert z.mean() == pytest.approx(0.0, abs=0.04)
    assert z.std() == pytest.approx(1.0, abs=0.12)
