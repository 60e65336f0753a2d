"""Sums of columns as integers on a grid of each column's own, which is a function of the rows that are held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expunge.estimators._base import vacate
from expunge.numerics.fixed_point import RANGE_BITS, Wide, room, spread, squares, sums

_FINER = 48
_EMPTY = -10_000  # the exponent of a column without any value


class Moments:
    """Rows of numbers ([n, d]; NaN is left out), and per column how many, their sum and the sum of their squares.

    The grid of a column is 2^-49 of the power of two above its largest magnitude, so that nothing is to be declared,
    and nothing overflows. How many rows have which exponent is counted: when the last row with the largest one goes,
    the column is summed anew on a finer grid, as a fresh fit does. That costs O(n) for that column, and is rare.
    What the grid leaves of each value is summed too, 48 bits finer, so that the mean of a constant column is its value.
    """

    def __init__(self) -> None:
        self.X = np.empty((0, 0))
        self.count = np.empty(0, dtype=np.int64)
        self.bits = np.empty(0, dtype=np.int64)
        self._sum, self._rest, self._squares = Wide.zeros(0), Wide.zeros(0), Wide.zeros(0)
        self._exponents: list[dict[int, int]] = []

    def add(self, X: np.ndarray) -> None:
        """Put rows at the end."""
        room(len(self.X) + len(X))
        if not self._exponents:
            d = X.shape[1]
            self.X, self.count = np.empty((0, d)), np.zeros(d, dtype=np.int64)
            self.bits, self._exponents = np.full(d, RANGE_BITS - 1 - _EMPTY), [{} for _ in range(d)]
            self._sum, self._rest, self._squares = Wide.zeros(d), Wide.zeros(d), Wide.zeros(d)
        for counter, exponents in zip(self._exponents, _exponents(X), strict=True):
            for exponent in exponents:
                counter[exponent] = counter.get(exponent, 0) + 1
        self._change(X, 1, np.concatenate([self.X, X]))

    def remove(self, places: np.ndarray) -> None:
        """Take rows out, as :func:`vacate` does."""
        gone = self.X[places]
        for counter, exponents in zip(self._exponents, _exponents(gone), strict=True):
            for exponent in exponents:
                counter[exponent] -= 1
                if not counter[exponent]:
                    del counter[exponent]
        self._change(gone, -1, vacate(self.X, places))

    def _change(self, rows: np.ndarray, sign: int, X: np.ndarray) -> None:
        bits = np.array([RANGE_BITS - 1 - max(counter, default=_EMPTY) for counter in self._exponents], dtype=np.int64)
        same = bits == self.bits
        self.X, self.bits = X, bits
        self.count = self.count + sign * (~np.isnan(rows)).sum(axis=0)
        for held, part in zip(self._parts(), _summed(rows[:, same], bits[same]), strict=True):
            held[(same,)] = held[same].signed(part, sign)
        if not same.all():
            for held, part in zip(self._parts(), _summed(X[:, ~same], bits[~same]), strict=True):
                held[(~same,)] = part

    def _parts(self) -> tuple[Wide, Wide, Wide]:
        return self._sum, self._rest, self._squares

    def mean(self) -> np.ndarray:
        """Return the mean of each column ([d]); NaN where there is no value."""
        found = np.full(len(self.count), np.nan)
        some = self.count > 0
        total = self._sum[some].exact() * (1 << _FINER) + self._rest[some].exact()
        found[some] = np.ldexp((total / self.count[some].astype(object)).astype(np.float64), -self.bits[some] - _FINER)
        return found

    def variance(self) -> np.ndarray:
        """Return the mean squared deviation of each column ([d]), exactly 0 where all values are equal; NaN without."""
        found = np.full(len(self.count), np.nan)
        some = self.count > 0
        spreads = spread(self.count[some], self._squares[some], self._sum[some])
        with np.errstate(over="ignore"):
            found[some] = np.ldexp(spreads, -2 * self.bits[some])
        return found

    def learnt(self) -> Mapping[str, Any]:
        """Return grids, counts and sums, for fingerprints."""
        if not len(self.X):
            return {}
        return {
            "bits": self.bits,
            "count": self.count,
            "sum": self._sum.exact().tolist(),
            "rest": self._rest.exact().tolist(),
            "squares": self._squares.exact().tolist(),
        }


def on_grid(X: np.ndarray, bits: np.ndarray | int) -> np.ndarray:
    """Return rint(X · 2^bits) as integers; below 2^50, for ``bits`` come from the largest value."""
    return np.rint(np.ldexp(X, bits)).astype(np.int64)


def _exponents(X: np.ndarray) -> list[list[int]]:
    """Return for each column the powers of two above the magnitudes of its values that are neither 0 nor NaN."""
    _, exponents = np.frexp(X)
    used = (X != 0) & ~np.isnan(X)
    return [exponents[used[:, j], j].tolist() for j in range(X.shape[1])]


def _summed(X: np.ndarray, bits: np.ndarray) -> tuple[Wide, Wide, Wide]:
    """Return the sums of the values on the grid, of what it leaves of them, and of the squares of the first."""
    values = np.where(np.isnan(X), 0.0, X)
    whole = on_grid(values, bits)
    rest = on_grid(values - np.ldexp(whole.astype(np.float64), -bits), bits + _FINER)
    return sums(whole), sums(rest), squares(whole)
