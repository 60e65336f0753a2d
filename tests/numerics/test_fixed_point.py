"""Sums in integers against Python's own, which have no limits."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from expunge.core.errors import UsageError
from expunge.numerics import fixed_point
from expunge.numerics.fixed_point import (
    MOST_ROWS,
    RANGE_BITS,
    Wide,
    gram,
    gram_changed,
    quantise,
    room,
    scatter,
    spread,
    squares,
    sums,
    within,
)

LIMIT = 1 << RANGE_BITS
WHOLE = st.integers(-(2**120), 2**120)


def wide(values):
    """Return Python integers as a Wide."""
    array = np.array(values, dtype=object)
    return Wide(np.stack([array >> 62, array & ((1 << 62) - 1)]).astype(np.int64))


def drawn(n, d, most, seed=0):
    return np.random.default_rng(seed).integers(-most, most + 1, size=(n, d))


# --- from values to integers ----------------------------------------------------------------------------------------


def test_values_are_rounded_half_to_even():
    X = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 0.25]])
    np.testing.assert_array_equal(quantise(X, 0), [[0, 2, 2, 0, -2, 0]])
    np.testing.assert_array_equal(quantise(X, 1), [[1, 3, 5, -1, -3, 0]])


def test_columns_may_have_bits_of_their_own():
    np.testing.assert_array_equal(quantise(np.array([[3.0, 3.0, 3000.0]]), [0, 4, -3]), [[3, 48, 375]])


def test_bits_are_whole_numbers_one_or_one_per_column():
    for wrong in (2.5, "24", [24], [24, 24, 24], 600, -600, None):
        with pytest.raises(ValueError, match="bits"):
            quantise(np.ones((2, 2)), wrong)


def test_what_was_read_as_float32_is_the_same_integer():
    """P-15: the row at forgetting is the row at fitting where its values fit into both."""
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_array_equal(quantise(X.astype(np.float64), 20), quantise(np.ascontiguousarray(X), 20))


@pytest.mark.parametrize("value", [2.0**26, -(2.0**26), 1e300, -1e308])
def test_what_does_not_fit_is_refused_with_column_and_range(value):
    X = np.array([[1.0, 2.0], [1.0, value], [0.0, value]])
    with pytest.raises(UsageError) as caught:
        quantise(X, 24, names=["age", "income"])
    text = str(caught.value)
    assert "column 'income'" in text
    assert "2 of 3 rows" in text
    assert "|x| < 2^26" in text
    with pytest.raises(UsageError, match="column 1"):
        quantise(X, 24)
    assert quantise(np.array([[2.0**26 - 1, 1 - 2.0**26]]), 24).tolist() == [[LIMIT - 2**24, 2**24 - LIMIT]]


def test_a_column_of_which_nothing_is_left_is_refused():
    X = np.array([[0.0, 1e-9], [1.0, -2e-9]])
    with pytest.raises(UsageError, match="column 1"):
        quantise(X, 24, whole=True)
    assert not quantise(X, 24)[:, 1].any()  # one batch of many may be like this
    assert not quantise(np.zeros((2, 2)), 24, whole=True).any()


# --- integers of two limbs ------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=8))
def test_wide_integers_add_and_subtract_as_pythons(pairs):
    one, other = (np.array(side, dtype=object) for side in zip(*pairs, strict=True))
    assert (wide(one).exact() == one).all()
    assert ((wide(one) + wide(other)).exact() == one + other).all()
    assert ((wide(one) - wide(other)).exact() == one - other).all()
    assert wide(one[:, None]).total().exact()[0] == sum(one)
    np.testing.assert_allclose(wide(one).floats(), one.astype(np.float64), rtol=3e-16)


@settings(max_examples=60)
@given(st.integers(-(2**53), 2**53), st.integers(0, 70))
def test_one_value_has_one_form(value, shift):
    made = Wide.of(np.array([value]), shift)
    assert made.exact()[0] == value << shift
    assert 0 <= made.limbs[1, 0] < 1 << 62
    np.testing.assert_array_equal(made.limbs, wide([value << shift]).limbs)


def test_a_small_negative_number_does_not_cancel():
    assert wide([-20]).floats()[0] == -20.0


# --- exact products -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 1 << 20, (1 << 21) - 1, 1 << 28, 1 << 42, LIMIT - 1])
@pytest.mark.parametrize("n", [1, 2, 2049])
def test_products_and_sums_are_those_of_pythons_integers(n, most):
    Q = drawn(n, 4, most)
    Q[0, 0], Q[0, 1] = most, -most
    Q[:, 2] = (Q[:, 2] >> 21) << 21  # a column without a low digit
    Q[:, 3] = -np.abs(Q[:, 3])
    exact = Q.astype(object)
    assert (gram(Q).exact() == exact.T @ exact).all()
    assert (squares(Q).exact() == (exact * exact).sum(axis=0)).all()
    assert (sums(Q).exact() == exact.sum(axis=0)).all()
    assert (sums(sparse.csr_array(Q)).exact() == exact.sum(axis=0)).all()


def test_products_of_more_rows_than_a_chunk():
    Q = np.full((fixed_point._CHUNK + 5, 2), LIMIT - 1)
    Q[:, 1] *= -1
    n, q = len(Q), LIMIT - 1
    np.testing.assert_array_equal(gram(Q).exact(), [[n * q * q, -n * q * q], [-n * q * q, n * q * q]])
    np.testing.assert_array_equal(squares(Q).exact(), [n * q * q] * 2)
    np.testing.assert_array_equal(sums(Q).exact(), [n * q, -n * q])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("most", [5, 1 << 24, 1 << 45])
def test_a_sparse_row_changes_the_same_products(sign, most):
    Q = drawn(30, 20, most)
    row = np.zeros((1, 20), np.int64)
    row[0, [0, 7, 11]] = drawn(1, 3, most)[0]
    expected = gram(Q).signed(gram(row), sign)
    np.testing.assert_array_equal(gram_changed(gram(Q), row, sign).limbs, expected.limbs)
    np.testing.assert_array_equal(gram_changed(gram(Q), Q[:1], sign).limbs, gram(Q).signed(gram(Q[:1]), sign).limbs)
    np.testing.assert_array_equal(gram_changed(gram(Q), row * 0, sign).limbs, gram(Q).limbs)


# --- what a deletion leaves -----------------------------------------------------------------------------------------


def test_whatever_came_and_went_the_sums_are_those_of_a_fresh_start():
    """P-12, and P-14: the same test on floats must fail, or it would not see a fall back to floats."""
    X = np.random.default_rng(1).normal(size=(3000, 5)) * [1, 10, 1e3, 1e-2, 1]
    Q = quantise(X, 24)
    gone, kept = np.arange(0, 3000, 3), np.setdiff1d(np.arange(3000), np.arange(0, 3000, 3))
    after = gram(Q) - gram(Q[gone[::2]]) - gram(Q[gone[1::2]])
    np.testing.assert_array_equal(after.limbs, gram(Q[kept]).limbs)
    assert not np.array_equal(X.T @ X - X[gone].T @ X[gone], X[kept].T @ X[kept])


def test_nothing_wraps():
    """P-13: on its own, since what wraps is still a group, in which P-12 passes."""
    assert MOST_ROWS * (LIMIT - 1) ** 2 < 1 << 124, "the sums of all rows that are let in fit"
    Q = np.full((4096, 1), LIMIT - 1)
    with np.errstate(over="ignore"):
        wrapped = (Q * Q).sum()
    assert wrapped - (Q[:10] * Q[:10]).sum() == (Q[10:] * Q[10:]).sum(), "int64 wraps, and deletes as if nothing was"
    true = 4096 * (LIMIT - 1) ** 2
    assert wrapped != true
    assert gram(Q).exact()[0, 0] == squares(Q).exact()[0] == true
    most = wide([MOST_ROWS * (LIMIT - 1) ** 2])
    assert (most + Wide.zeros(1)).exact()[0] == MOST_ROWS * (LIMIT - 1) ** 2
    assert (Wide.zeros(1) - most).exact()[0] == -MOST_ROWS * (LIMIT - 1) ** 2
    room(MOST_ROWS)
    with pytest.raises(UsageError, match="more rows"):
        room(MOST_ROWS + 1)


# --- quotients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1 << 40])
def test_products_about_the_mean_have_one_rounding(offset):
    """The mean is 10^9 times the deviation: differences of floats would have no digit left."""
    Q = drawn(40, 3, 500) + offset
    n, exact = 40, Q.astype(object)
    s = exact.sum(axis=0)
    expected = [
        [float(Fraction(int(n * (exact[:, i] * exact[:, j]).sum() - s[i] * s[j]), n)) for j in range(3)]
        for i in range(3)
    ]
    np.testing.assert_array_equal(scatter(n, gram(Q), sums(Q)), expected)
    np.testing.assert_array_equal(scatter(n, gram(Q)[:, :2], sums(Q), sums(Q)[:2]), np.array(expected)[:, :2])
    np.testing.assert_array_equal(
        spread(n, squares(Q), sums(Q)),
        [float(Fraction(int(n * (q * q).sum() - t * t), n * n)) for q, t in zip(exact.T, s, strict=True)],
    )
    assert not scatter(n, gram(Q * 0 + offset), sums(Q * 0 + offset)).any()


def test_products_about_the_means_of_classes():
    Q, y = drawn(60, 3, 1 << 30) + (1 << 45), np.arange(60) % 7 % 3
    parts = [Q[y == c].astype(object) for c in range(3)]
    counts = np.array([len(part) for part in parts])
    summed = Wide.stack([sums(Q[y == c]) for c in range(3)])
    exact = sum(
        np.array(
            [
                [
                    Fraction(int((p[:, i] * p[:, j]).sum())) - Fraction(int(p[:, i].sum() * p[:, j].sum()), len(p))
                    for j in range(3)
                ]
                for i in range(3)
            ]
        )
        for p in parts
    )
    np.testing.assert_array_equal(within(counts, gram(Q), summed), exact.astype(np.float64))
    np.testing.assert_array_equal(within(counts, squares(Q), summed), np.diag(exact).astype(np.float64))
