"""Sums in fixed-point integers: the same bits whatever was added and taken away, and in whatever order.

A value x becomes the integer q = rint(x · 2^bits), half to even, and only q is ever summed. Integers add and
subtract without rounding, so that sums after any inserts and deletes equal those of a fresh start (summation form:
Cao & Yang, IEEE S&P 2015; floating point has no inverse of its own additions).

Nothing may wrap: int64 that overflows is still a group, in which deletes undo inserts while every value is garbage.
So |q| < 2^50, at most 2^24 rows, and sums of products, below 2^124, are held in two limbs (:class:`Wide`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expunge.core.errors import UsageError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

RANGE_BITS = 50
MOST_ROWS = 1 << 24
_MOST_BITS = 512  # units of 2^-512: what a float64 can scale by, and back by its square
_LOW = 62  # bits of the low limb: two of them add without overflow
_MASK = (1 << _LOW) - 1
_HALF = (1 << (_LOW // 2)) - 1
_DIGIT = 21  # bits of a digit in products: 2^11 rows of digit times digit stay within 2^53, where float64 is exact
_BLOCK = 1 << 11
_CHUNK = 1 << 15


def quantise(
    X: Float, bits: int | Sequence[int], *, names: Sequence[str] | None = None, what: str = "X", whole: bool = False
) -> Int:
    """Return rint(X · 2^bits) of finite ``X`` [n, d] as int64 [n, d]; exact but for the rint.

    Args:
        X: finite values.
        bits: fractional bits, for all columns or one number per column; x is known to 2^-bits, |x| < 2^(50 - bits).
        names: names of the columns, for errors.
        what: what the array is called, for errors.
        whole: these are all rows, so that a column of which nothing is left can be told from one of zeros.

    Raises:
        UsageError: a value does not fit, or ``whole`` and all that a column has is lost in rounding.
        ValueError: ``bits`` are no whole numbers in [-512, 512], or not one, and not one per column.
    """
    scale = _checked(bits, X.shape[1])
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(X, scale))
    if scaled.size and not np.abs(scaled).max() < 2.0**RANGE_BITS:
        bad = ~(np.abs(scaled) < 2.0**RANGE_BITS)
        place = int(bad.any(axis=0).argmax())
        b = int(np.broadcast_to(scale, X.shape[1:])[place])
        raise UsageError(
            "values are outside the range of the fixed-point sums",
            where=f"{what}, {_column(place, names)}",
            found=f"{int(bad[:, place].sum())} of {len(X)} rows outside",
            expected=f"|x| < 2^{RANGE_BITS - b} = {2.0 ** (RANGE_BITS - b):g}, at {b} bits after the point",
            fix="take fewer bits (one number per column is possible), or give the column in a larger unit",
        )
    if whole and scaled.size:
        lost = (X != 0).any(axis=0) & ~scaled.any(axis=0)
        if lost.any():
            place = int(lost.argmax())
            b = int(np.broadcast_to(scale, X.shape[1:])[place])
            raise UsageError(
                "all values of a column are rounded to 0",
                where=f"{what}, {_column(place, names)}",
                found=f"nothing of {2.0 ** -(b + 1):g} or more",
                expected=f"values well above 2^-{b} = {2.0**-b:g}, what {b} bits after the point can tell apart",
                fix="take more bits (one number per column is possible), or give the column in a smaller unit",
            )
    return scaled.astype(np.int64)


def _checked(bits: ArrayLike, columns: int) -> NDArray[np.int32]:
    scale = np.asarray(bits)
    if scale.dtype.kind not in "iu" or scale.shape not in ((), (columns,)) or (abs(scale) > _MOST_BITS).any():
        raise ValueError(
            f"bits takes a whole number from -{_MOST_BITS} to {_MOST_BITS}, or one for each of {columns} columns"
        )
    return scale.astype(np.int32)


def _column(place: int, names: Sequence[str] | None) -> str:
    return f"column {place}" if names is None else f"column {names[place]!r}"


def room(rows: int) -> None:
    """Raise UsageError unless sums of ``rows`` rows are certain to fit."""
    if rows > MOST_ROWS:
        raise UsageError(
            "more rows than the fixed-point sums can hold",
            where="fit",
            found=f"{rows} rows",
            expected=f"at most {MOST_ROWS}",
            fix="fit several estimators, each on a part of the rows",
        )


class Wide:
    """An array of integers in (-2^124, 2^124): ``hi`` · 2^62 + ``lo`` with 0 <= ``lo`` < 2^62, so one form per value.

    It has a shape and indices as an array has; sums of it are exact. ``limbs`` [2, ...] holds ``hi`` and ``lo``.
    """

    def __init__(self, limbs: Int) -> None:
        self.limbs = limbs

    @classmethod
    def zeros(cls, *shape: int) -> Wide:
        """Return zeros."""
        return cls(np.zeros((2, *shape), np.int64))

    @classmethod
    def of(cls, values: Int, shift: int = 0) -> Wide:
        """Return ``values`` · 2^shift, which must fit."""
        limbs = np.empty((2, *values.shape), np.int64)
        if shift >= _LOW:
            limbs[0], limbs[1] = values << (shift - _LOW), 0
        else:
            np.right_shift(values, _LOW - shift, out=limbs[0])
            np.bitwise_and(values << shift, _MASK, out=limbs[1])  # what the shift drops on the left is in hi
        return cls(limbs)

    @classmethod
    def stack(cls, rows: Sequence[Wide]) -> Wide:
        """Return arrays of one shape as one, along a new first axis."""
        return cls(np.stack([row.limbs for row in rows], axis=1))

    @classmethod
    def join(cls, parts: Sequence[Wide]) -> Wide:
        """Return arrays as one, along their first axis."""
        return cls(np.concatenate([part.limbs for part in parts], axis=1))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.limbs.shape[1:]

    def __getitem__(self, index: object) -> Wide:
        """Return the part at ``index``; a view where NumPy's is."""
        place = index if isinstance(index, tuple) else (index,)
        return Wide(self.limbs[(slice(None), *place)])

    def __setitem__(self, index: tuple[object, ...], part: Wide) -> None:
        """Put ``part`` at ``index``, in one assignment."""
        self.limbs[(slice(None), *index)] = part.limbs

    def __add__(self, other: Wide) -> Wide:
        return _carried(self.limbs + other.limbs)

    def __sub__(self, other: Wide) -> Wide:
        return _carried(self.limbs - other.limbs)

    def signed(self, other: Wide, sign: int) -> Wide:
        """Return ``self + other`` for sign 1 and ``self - other`` for sign -1."""
        return self + other if sign > 0 else self - other

    @property
    def T(self) -> Wide:
        """The transpose, of two axes."""
        return Wide(self.limbs.transpose(0, 2, 1))

    def total(self) -> Wide:
        """Return the sum over the first axis."""
        hi, lo = self.limbs
        halves = Wide.of((lo & _HALF).sum(axis=0)) + Wide.of((lo >> (_LOW // 2)).sum(axis=0), _LOW // 2)
        return Wide(np.stack([hi.sum(axis=0), np.zeros_like(halves.limbs[0])])) + halves

    def exact(self) -> np.ndarray:
        """Return Python's integers, as an array of objects."""
        hi, lo = self.limbs.astype(object)
        return hi * (1 << _LOW) + lo

    def floats(self) -> Float:
        """Return float64, to two roundings; for quotients, not for differences that cancel."""
        negative = self.limbs[0] < 0  # of these the limbs of the magnitude: the limbs themselves would cancel
        hi, lo = np.where(negative, (Wide.zeros(*self.shape) - self).limbs, self.limbs)
        return np.where(negative, -1.0, 1.0) * (np.ldexp(hi.astype(np.float64), _LOW) + lo)


def _carried(limbs: Int) -> Wide:
    """Bring the low limb, off by one carry at most, back to [0, 2^62); a negative one borrows, as shifts round down."""
    limbs[0] += limbs[1] >> _LOW
    limbs[1] &= _MASK
    return Wide(limbs)


def sums(Q: Any) -> Wide:
    """Return the sum of each column of ``Q`` [n, d], an int64 array or sparse array of rows."""
    total = Wide.zeros(Q.shape[1])
    for block in _blocks(Q, 1 << 12):
        total = total + Wide.of(block.sum(axis=0))
    return total


def squares(Q: Int) -> Wide:
    """Return the sum of the squares of each column of ``Q`` [n, d]."""
    total = Wide.zeros(Q.shape[1])
    half = RANGE_BITS // 2
    for block in _blocks(Q, 1 << 10):
        high, low = block >> half, block & ((1 << half) - 1)
        total = total + Wide.of((high * high).sum(axis=0), 2 * half)
        total = total + Wide.of((high * low).sum(axis=0), half + 1)
        total = total + Wide.of((low * low).sum(axis=0))
    return total


def gram(Q: Int) -> Wide:
    """Return Q^T Q of ``Q`` [n, d] exactly, at the speed of float64 products.

    Rows are split into digits of 21 bits: in blocks of 2^11 rows, products of digits sum to at most 2^53, where
    float64 is exact in any order of summation. Columns of which a digit is 0 throughout are left out of its products.
    """
    d = Q.shape[1]
    total = Wide.zeros(d, d)
    for chunk in _blocks(Q, _CHUNK):
        digits = list(_digits(chunk))
        for i, one in enumerate(digits):
            for j, other in enumerate(digits[i:], i):
                product = _product(one[1], other[1])
                place = np.ix_(one[0], other[0])
                part = Wide.of(product, (i + j) * _DIGIT)
                total = _add_at(total, part, place)
                if i != j:
                    total = _add_at(total, part.T, np.ix_(other[0], one[0]))
    return total


def gram_changed(total: Wide, Q: Int, sign: int) -> Wide:
    """Return ``total`` [d, d] with ``Q^T Q`` added (sign 1) or subtracted (-1); ``total`` is used up.

    A row of which few columns are not 0, as one-hot coding makes them, changes the products of these alone, in place.
    """
    width = Q.shape[1]
    if len(Q) != 1:
        return total.signed(gram(Q), sign)
    (used,) = Q[0].nonzero()
    q = Q[0].take(used)
    size = q.tolist()
    if size and max(max(size), -min(size)) >= 1 << 31:
        return total.signed(gram(Q), sign)
    if 4 * len(used) > width:
        limbs = total.limbs.copy()
        limbs[1] += np.multiply.outer(sign * Q[0], Q[0])  # below 2^62 + 2^62
        return _carried(limbs)
    store = np.ascontiguousarray(total.limbs)
    hi, lo = store.reshape(2, -1)  # views
    place = np.add.outer(used * width, used)
    low = lo.take(place)
    low += np.multiply.outer(sign * q, q)
    carry = low >> _LOW
    if carry.any():
        hi.put(place, hi.take(place) + carry)
        low &= _MASK
    lo.put(place, low)
    return Wide(store)


def _add_at(total: Wide, part: Wide, place: tuple[Int, ...]) -> Wide:
    if part.shape == total.shape:
        return total + part
    total[place] = total[place] + part
    return total


def _digits(Q: Int) -> Iterator[tuple[Int, Float]]:
    """Yield (columns, digit of these columns) from the lowest digit on; the last one has the sign."""
    largest = max(int(Q.max(initial=0)), -int(Q.min(initial=0)))
    count = max(1, -(-largest.bit_length() // _DIGIT))
    for place in range(count):
        digit = Q >> (place * _DIGIT)
        if place < count - 1:
            digit &= (1 << _DIGIT) - 1
        used = np.flatnonzero(digit.any(axis=0))
        yield used, np.ascontiguousarray(digit[:, used] if len(used) < Q.shape[1] else digit, dtype=np.float64)


def _product(A: Float, B: Float) -> Int:
    total = np.zeros((A.shape[1], B.shape[1]), np.int64)
    for start in range(0, len(A), _BLOCK):
        total += (A[start : start + _BLOCK].T @ B[start : start + _BLOCK]).astype(np.int64)
    return total


def _blocks(Q: Any, size: int) -> Iterator[Any]:
    for start in range(0, Q.shape[0], size):
        yield Q[start : start + size]


def scatter(n: int, products: Wide, one: Wide, other: Wide | None = None) -> Float:
    """Return (n · products − one other^T) / n: what products [p, q] of n rows are about their means, in float64.

    The difference is taken in Python's integers, so that it has no error even where the mean is a million times the
    deviation; the quotient is rounded once. ``other`` None says that the products are those of ``one`` with itself:
    then one half is computed, and a diagonal of 0 means a constant column.
    """
    if other is not None:
        exact = n * products.exact() - np.multiply.outer(one.exact(), other.exact())
        return (exact / n).astype(np.float64)
    s = one.exact()
    i, j = np.triu_indices(len(s))
    found = np.empty(products.shape)
    found[i, j] = found[j, i] = (n * products[i, j].exact() - s[i] * s[j]) / n
    return found


def spread(n: ArrayLike, squared: Wide, summed: Wide) -> Float:
    """Return (n · squared − summed²) / n² elementwise: variances of n rows, rounded once; n broadcasts."""
    count = np.asarray(n).astype(object)
    s = summed.exact()
    return np.asarray((count * squared.exact() - s * s) / (count * count), dtype=np.float64)


def within(counts: Int, products: Wide, summed: Wide) -> Float:
    """Return products − Σ_c s_c s_c^T / n_c in float64: what all rows are about the means of their classes.

    In Python's integers with 64 bits after the point: k classes leave an error below k · 2^-64 of one, and none where
    the rows of each class are equal.

    Args:
        counts: rows of each class [k].
        products: sums of products over all rows [d, d], or of squares alone [d].
        summed: sums of each class [k, d].
    """
    s, square = summed.exact(), len(products.shape) == 2
    one, other = np.triu_indices(s.shape[1]) if square else (np.arange(s.shape[1]),) * 2
    exact = (products[one, other] if square else products).exact() * (1 << 64)
    for count, row in zip(counts.tolist(), s, strict=True):
        exact = exact - row[one] * row[other] * (1 << 64) // count
    quotient = (exact / (1 << 64)).astype(np.float64)
    if not square:
        return quotient
    found = np.empty(products.shape)
    found[one, other] = found[other, one] = quotient
    return found
