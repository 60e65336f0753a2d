import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax as reference_log_softmax

from expunge.numerics.divergences import jensen_shannon, log_softmax, normal_jensen_shannon

LOGITS = arrays(np.float64, (3, 4), elements=st.floats(-50, 50))


def log(rows):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(rows, dtype=np.float64))


@given(LOGITS, LOGITS)
def test_it_is_scipys_squared_distance(one, other):
    logp, logq = log_softmax(one), log_softmax(other)
    expected = jensenshannon(np.exp(logp), np.exp(logq), base=2, axis=1) ** 2
    np.testing.assert_allclose(jensen_shannon(logp, logq), np.nan_to_num(expected), atol=1e-12)


@given(LOGITS, LOGITS)
def test_it_is_symmetric_and_bounded(one, other):
    logp, logq = log_softmax(one), log_softmax(other)
    value = jensen_shannon(logp, logq)
    np.testing.assert_allclose(value, jensen_shannon(logq, logp), atol=1e-13)
    assert ((value >= 0) & (value <= 1)).all()
    np.testing.assert_array_equal(jensen_shannon(logp, logp) < 1e-14, True)


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_disjoint_rows_give_one_and_equal_rows_nothing(classes):
    # Whatever the number of classes: an average over classes, or KL the other way round, would not.
    p, q = np.zeros(classes), np.zeros(classes)
    p[0] = q[-1] = 1
    assert jensen_shannon(log([p]), log([q])) == pytest.approx([1.0], abs=1e-15)
    assert jensen_shannon(log([p]), log([p])) == pytest.approx([0.0], abs=1e-15)


def test_impossible_classes_are_no_trouble():
    p, q = [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], [[0.5, 0.0, 0.5], [0.25, 0.75, 0.0]]
    with np.errstate(all="raise"):
        found = jensen_shannon(log(p), log(q))
    np.testing.assert_allclose(found, jensenshannon(p, q, base=2, axis=1) ** 2, atol=1e-15)


@given(arrays(np.float64, (2, 5), elements=st.floats(-1e4, 1e4)))
def test_log_softmax_is_scipys(logits):
    np.testing.assert_allclose(log_softmax(logits), reference_log_softmax(logits, axis=1), rtol=1e-12, atol=1e-12)


def test_log_softmax_at_large_logits_leaves_its_input_alone():
    logits = np.array([[1e4, -1e4, 0.0]])
    before = logits.copy()
    np.testing.assert_array_equal(log_softmax(logits), [[0.0, -2e4, -1e4]])
    np.testing.assert_array_equal(logits, before)


def test_normal_laws_by_quadrature():
    for d in (0.0, 0.01, 0.3, 1.0, 2.5, 6.0, 15.0):
        p, q = stats.norm(0, 1), stats.norm(d, 1)

        def density(z, p=p, q=q):
            return sum(
                0.5 * np.exp(a.logpdf(z)) * (a.logpdf(z) - np.logaddexp(p.logpdf(z), q.logpdf(z)) + np.log(2))
                for a in (p, q)
            )

        expected = integrate.quad(density, -10, 10 + d, limit=200)[0] / np.log(2)
        assert normal_jensen_shannon(np.array([d, -d])) == pytest.approx([expected, expected], abs=2e-6)
    assert normal_jensen_shannon(np.array([1e6])) == 1.0
