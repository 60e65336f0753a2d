import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_curve

from expunge.numerics.curves import (
    BINS,
    RATES,
    attack_curve,
    attack_rates,
    cumulative,
    histogram,
    loss_edges,
    short,
)
from expunge.numerics.membership import resolvable

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]) | st.floats(-5, 5), min_size=20, max_size=60)


# --- histograms -----------------------------------------------------------------------------------------------


def test_a_histogram_is_numpys_on_the_same_edges_and_loses_nobody():
    values = np.array([0.0, 0.1, 0.4, 0.4, 3.0, 10.0, 250.0])
    edges = np.linspace(0.0, 10.0, 26)
    shares = histogram(values, edges)
    inside = np.histogram(values[:-1], bins=edges)[0] / 7
    np.testing.assert_allclose(shares[:-1], inside[:-1])
    assert shares[-1] == pytest.approx(2 / 7), "what lies beyond counts in the last bin"
    assert shares.sum() == pytest.approx(1.0)
    assert (shares[0], shares[1]) == pytest.approx((2 / 7, 2 / 7)), "0.4 opens the second bin"


@given(arrays(np.float64, 30, elements=st.floats(0, 200)))
def test_edges_are_round_and_the_same_for_everybody(values):
    edges = loss_edges([values, values / 2])
    assert len(edges) == BINS + 1
    assert edges[0] == 0.0
    assert edges[-1] in {1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0}, "no edge is a record's value"
    beyond = (np.concatenate([values, values / 2]) > edges[-1]).mean()
    assert beyond <= 0.01 or edges[-1] == 100.0


def test_edges_are_the_tightest_that_hold_nearly_all():
    values = np.concatenate([np.full(990, 4.0), np.full(10, 80.0)])
    assert loss_edges([values])[-1] == 5.0
    assert loss_edges([np.append(values, 80.0)])[-1] == 100.0


# --- distribution functions -----------------------------------------------------------------------------------


@given(arrays(np.float64, 25, elements=st.floats(0, 1)))
def test_a_distribution_function_is_scipys(values):
    places = np.linspace(0, 1, 21)
    expected = stats.ecdf(values).cdf.evaluate(places)
    np.testing.assert_allclose(cumulative(values, places), expected)


def test_a_value_at_a_place_counts():
    np.testing.assert_array_equal(cumulative(np.array([0.5, 0.5, 1.0]), np.array([0.49, 0.5, 1.0])), [0, 2 / 3, 1])


# --- the attack -----------------------------------------------------------------------------------------------


@given(SCORES, SCORES)
def test_the_attacks_curve_is_sklearns(members, strangers):
    rates = attack_rates(len(strangers))
    labels = [1] * len(members) + [0] * len(strangers)
    fpr, tpr, _ = roc_curve(labels, members + strangers, drop_intermediate=False)
    expected = [tpr[fpr <= rate + 1e-9].max() for rate in rates]
    np.testing.assert_allclose(attack_curve(np.array(members), np.array(strangers), rates), expected)


@given(st.integers(1, 5000))
def test_rates_are_those_that_can_be_set_and_no_others(strangers):
    rates = attack_rates(strangers)
    assert len(rates) <= RATES
    assert all(resolvable(rate, strangers) == "yes" for rate in rates)
    allowed = rates * strangers
    np.testing.assert_allclose(allowed, np.round(allowed), atol=1e-6)
    assert (np.diff(rates) > 0).all()
    if strangers >= 20:
        assert rates[-1] == 1.0
        assert resolvable(rates[0] - 1 / strangers, strangers) != "yes", "the lowest that can be set"
    else:
        assert len(rates) == 0


def test_rates_are_evenly_spaced_in_the_logarithm():
    steps = np.diff(np.log(attack_rates(100_000)))
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.05)


# --- what is kept ---------------------------------------------------------------------------------------------


def test_numbers_are_short_and_never_hide_what_is_not_one():
    assert short([1 / 3, 12345.6, -0.0, 1e-5]) == (0.3333, 12350.0, 0.0, 1e-5)
    assert str(short([-0.0])[0]) == "0.0"
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            short([value])
