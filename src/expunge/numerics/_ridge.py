"""Weighted ridge regression, and what it predicts of each record when it is fitted without it.

With A = X'WX + L, X the rows with a column of ones, W the weights and L the penalty (none on the ones), the residual of
record i in a fit without it is e_i / (1 - w_i x_i' A^-1 x_i): Allen 1974, Technometrics 16(1) (PRESS).
Shapes: n records, d features, k targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from expunge.numerics._arrays import Array

RIDGE = 0.1
"""Penalty, for features of unit variance and weights that sum to one: a few records of each kind are enough."""


@dataclass(frozen=True)
class Fitted:
    """A fit to rows [n, d + 1], the last column ones.

    Attributes:
        solved: A^-1 X', [d + 1, n].
        stays: 1 - w_i x_i' A^-1 x_i, [n].
        weight: [n].
    """

    rows: Array
    weight: Array
    solved: Array
    stays: Array

    def slopes(self, target: Array) -> Array:
        """Return the coefficients for targets [n] or [n, k]: [d + 1] or [d + 1, k]."""
        found: Array = self.solved @ (target.T * self.weight).T
        return found

    def left(self, target: Array) -> Array:
        """Return the residuals of targets [n] or [n, k] in the fit to all records."""
        found: Array = target - self.rows @ self.slopes(target)
        return found

    def without(self, target: Array) -> Array:
        """Return what is predicted of each record by the fit without it, shaped as ``target``."""
        found: Array = target - (self.left(target).T / self.stays).T
        return found


def fit(rows: Array, weight: Array) -> Fitted:
    """Return the fit to standardised rows [n, d] with these weights [n], which sum to one."""
    wide = with_ones(rows)
    penalty = np.full(wide.shape[1], RIDGE)
    penalty[-1] = 0.0  # the intercept is free
    solved = linalg.solve((wide.T * weight) @ wide + np.diag(penalty), wide.T, assume_a="pos")
    return Fitted(wide, weight, solved, 1.0 - weight * (wide * solved.T).sum(axis=1))


def with_ones(rows: Array) -> Array:
    """Return rows [n, d] with a column of ones behind, [n, d + 1]."""
    return np.column_stack([rows, np.ones(len(rows))])
