"""Least squares with a quadratic penalty, solved from sums; a change of a few rows is answered in O(d²) each.

Beside the integer sums, which are the state, stand floats that are derived from them: A, the centred Gram matrix with
the penalty on its diagonal, the cross products c, and P, the inverse of A. One row changes A by a rank of one, and P
and the weights by Sherman and Morrison's formula (Ann. Math. Stat. 21, 1950). They are computed anew from the integers
every 1,000 changes, when a row carries nearly all of a direction (1 − x^T P x <= 1e-8), and when the weights, or
‖A w − c‖ / ‖c‖, miss 1e-10.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack, pinvh

Float = NDArray[np.float64]

LEAST_LEFT = 1e-8
TOLERANCE = 1e-10
MOST_CHANGES = 1_000
_REFINEMENTS = 4
_DEPENDENT = 1e-13  # what is left of a column's square when that of those before it is taken away


class Quadratic:
    """The minimiser of Σ (y − mean y − w·(x − mean))² + Σ_j penalty_j w_j² over n rows; ``w`` is [d, k].

    Args:
        n: number of rows.
        mean: mean of the rows [d]; zeros for a fit without intercept; taken over.
        target: mean of the targets [k]; zeros likewise; taken over.
        C: centred products of columns [d, d].
        c: centred products of columns with targets [d, k]; taken over.
        alpha: strength of the penalty, not times n.
        centred: whether there is an intercept, not penalised.
        standardize: penalise w_j times the deviation of column j, as if columns were standardised first.
    """

    def __init__(
        self, n: int, mean: Float, target: Float, C: Float, c: Float, *, alpha: float, centred: bool, standardize: bool
    ) -> None:
        self.n, self.mean, self.target, self.c = n, mean, target, c
        self.alpha, self.centred, self.standardize = alpha, centred, standardize
        self._squares = C.diagonal().copy()
        self._A = np.array(C, order="F")  # of the matrices here the lower half alone is kept up to date
        self._penalise()
        self._changes = 0
        factor, bad = lapack.dpotrf(self._A, lower=True)
        if bad or (factor.diagonal() ** 2 <= _DEPENDENT * self._A.diagonal()).any():
            self._P = np.asfortranarray(pinvh(self._A, check_finite=False))  # dependent columns: the least weights
            self._changes = MOST_CHANGES  # the formula for an inverse does not hold for this one
        else:
            self._P, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
        self.w = _times(self._P, self.c)
        self._refine()

    def changed(self, x: Float, y: Float, sign: int) -> bool:
        """Put in (sign 1) or take out (-1) rows ``x`` [m, d], ``y`` [m, k]; False: not possible, compute anew."""
        self._changes += len(x)
        if self._changes > MOST_CHANGES or not all(self._change(*row, sign) for row in zip(x, y, strict=True)):
            return False
        if self.standardize:
            self._penalise()
        return self._refine()

    def _change(self, x: Float, y: Float, sign: int) -> bool:
        n = self.n + sign
        if n < 2:
            return False
        v, t = x - self.mean, y - self.target
        weight = sign * (self.n / n if self.centred else 1.0)
        u = blas.dsymv(1.0, self._P, v, lower=1)
        left = 1.0 + weight * float(v @ u)
        if not left > LEAST_LEFT:  # also where it is NaN
            return False
        self._P = blas.dsyr(-weight / left, u, a=self._P, lower=1, overwrite_a=1)
        self._A = blas.dsyr(weight, v, a=self._A, lower=1, overwrite_a=1)
        if self.standardize:
            self._squares += weight * v * v
        self.w += (u * (weight / left))[:, None] * (t - v @ self.w)
        self.c += (v * weight)[:, None] * t
        if self.centred:
            self.mean += v * (sign / n)
            self.target += t * (sign / n)
        self.n = n
        return True

    def _penalise(self) -> None:
        penalty = self.alpha
        if self.standardize:
            variance = self._squares / self.n
            penalty = penalty * np.where(variance > 0, variance, 1.0)
        np.fill_diagonal(self._A, self._squares + penalty)

    def _refine(self) -> bool:
        """Improve the weights until a step moves them by 1e-10 of themselves; return whether that was reached.

        The step P (c − A w) is what the weights miss, also where columns nearly depend on each other and a small
        residual says little; there rounding alone moves them further, and every change is solved anew.
        """
        size = _norm(self.c)
        for _ in range(_REFINEMENTS):
            rest = self.c - _times(self._A, self.w)
            step = _times(self._P, rest)
            self.w += step
            if _norm(step) <= TOLERANCE * _norm(self.w):
                return _norm(rest) <= TOLERANCE * size
        return False


def _norm(values: Float) -> float:
    flat = values.ravel()
    return math.sqrt(flat @ flat)


def _times(S: Float, B: Float) -> Float:
    """Return S B for a symmetric matrix of which the lower half counts."""
    if B.shape[1] == 1:
        return blas.dsymv(1.0, S, B[:, 0], lower=1)[:, None]
    return blas.dsymm(1.0, S, B, lower=1)
