"""Regularised logistic regression solved until the gradient that was *measured* is inside a tolerance.

Per class the objective is ``sum_i log(1 + exp(-s_i x_i.w)) + |w|^2 / (2 C)`` over rows of norm 1, which is 1/C-strongly
convex: whoever is inside the tolerance tau lies within ``C tau`` of the one optimum, wherever he started. That takes
no bound on third derivatives and no spectral norm; all that must be bounded is the rounding of the measurement itself.

Source: Guo et al. 2020, arXiv 1911.03030 (objective, removal by Newton's step); rounding: Higham 2002, "Accuracy and
Stability of Numerical Algorithms", chapters 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from expunge.core.errors import RunFailed

ROUND = 2.0**-53
"""Largest relative error of one rounding of float64."""
BLOCK = 64
"""Rows summed one after the other; sums of blocks are added in pairs."""
_CACHED = 1024
"""Rows read at a time, so that they are still in the cache when they are read again."""
_LINK = 9
"""Roundings granted to one value of the logistic function and the difference to its label."""
_SLOW = 0.1
"""A step that leaves more of the gradient than this share calls for the curvature where we are."""
_PASSES = 3
"""A solution that took more passes is worth the curvature at its end: the next one starts from there."""
_HALVINGS, _MOST = 30, 500
"""Of a step, and of passes: what takes more leads nowhere."""


def unit_rows(X: np.ndarray, *, intercept: bool) -> np.ndarray:
    """Return rows [n, d], with a column of ones where there is an intercept, each divided by its norm; 0 stays 0."""
    rows = np.column_stack([X, np.ones(len(X))]) if intercept else np.array(X, dtype=np.float64)
    if rows.size:
        largest = np.abs(rows).max(axis=1, keepdims=True)
        np.divide(rows, largest, out=rows, where=largest > 0)  # squares neither overflow nor vanish
        norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        np.divide(rows, norm, out=rows, where=norm > 0)
    return rows


def rounding(rows: int, width: int, C: float, *, weight: float, errors: float) -> float:
    """Return a bound on the L2 error of the gradient as :func:`slope` computes it.

    Products and sums of a margin err by ``width`` roundings of ``|w|``, of which the logistic function passes on a
    quarter; the sum over rows errs by as many roundings of ``sum |p - t|`` as additions stand in a row.

    Args:
        rows: number of rows, each of norm 1 at the most.
        width: number of their coordinates.
        C: inverse strength of the regularisation.
        weight: ``|w|``, or a bound on it.
        errors: ``sum |p - t|``, or a bound on it.
    """
    depth = min(rows, BLOCK) + math.ceil(math.log2(max(1.0, rows / BLOCK))) + 4
    return 1.1 * ROUND * (depth * errors + rows * (width / 4 * weight + _LINK) + 3 * weight / C)


def tolerance(rows: int, width: int, C: float) -> float:
    """Return the norm of the gradient at which a solution counts: a function of the shape of the data alone.

    Twice the bound on rounding at the largest weights that an optimum can have: ``|w|^2 / 2C`` is no more than the
    objective at 0, ``n log 2``, and ``|w| / C`` no more than the sum of n rows.
    """
    largest = min(math.sqrt(2 * C * rows * math.log(2)), C * rows)
    return 2 * rounding(rows, width, C, weight=largest, errors=rows)


@dataclass(frozen=True)
class Slope:
    """The gradient [width] at some weights, ``p`` [n] there, and its norm with all rounding on top."""

    gradient: np.ndarray
    p: np.ndarray
    norm: float


def slope(X: np.ndarray, positive: np.ndarray, w: np.ndarray, C: float) -> Slope:
    """Return the gradient of the objective: one pass over the rows."""
    p, sums = np.empty(len(X)), []
    for start in range(0, len(X), _CACHED):
        rows, found = X[start : start + _CACHED], p[start : start + _CACHED]
        expit(rows @ w, out=found)
        errors = found - positive[start : start + _CACHED]
        whole = len(rows) // BLOCK * BLOCK
        blocks = np.matmul(errors[:whole].reshape(-1, 1, BLOCK), rows[:whole].reshape(-1, BLOCK, X.shape[1]))
        sums += [blocks[:, 0], errors[None, whole:] @ rows[whole:]]
    total = np.concatenate(sums)
    while len(total) > 1:
        half = len(total) // 2
        total = np.concatenate([total[:half] + total[half : 2 * half], total[2 * half :]])
    gradient, errors = total[0] + w / C, p - positive
    bound = rounding(
        len(X), X.shape[1], C, weight=float(np.linalg.norm(w)), errors=float(np.abs(errors).sum()) * (1 + 1e-9)
    )
    return Slope(gradient, p, float(np.linalg.norm(gradient)) + bound)


@dataclass(frozen=True)
class Part:
    """One class against the rest: secret weights, and what makes the next step cheap.

    Attributes:
        w: weights before any noise, [width].
        matrix: second derivatives at ``at``, [width, width]; None where they are to be computed. Only steers steps.
        at: the weights to which ``matrix`` belongs.
        residual: norm of the gradient at ``w`` as measured, rounding included.
    """

    w: np.ndarray
    matrix: np.ndarray | None = None
    at: np.ndarray | None = None
    residual: float = math.inf

    def changed(self, X: np.ndarray, positive: np.ndarray, *, sign: int) -> Part:
        """Return a start for :meth:`solved` once these rows were put in (1) or taken out (-1): one Newton step.

        The matrix loses what these rows gave it, so that nothing is kept that was computed from rows that left.
        """
        if self.matrix is None or self.at is None:
            return self
        p = expit(X @ self.at)
        matrix = self.matrix + sign * (X.T * (p * (1 - p))) @ X
        try:
            step = cho_solve(cho_factor(matrix), (expit(X @ self.w) - positive) @ X)
        except LinAlgError:
            return Part(self.w)
        return Part(self.w - sign * step, matrix, self.at)

    def solved(self, X: np.ndarray, positive: np.ndarray, C: float) -> Part:
        """Return the part with weights at which the measured gradient is inside :func:`tolerance`.

        Newton's method on the norm of the gradient: steps with an old matrix while these do, else with the present
        one, halved until the norm falls.

        Raises:
            RunFailed: no step leads on, for numbers too extreme.
        """
        goal, w, matrix, at = tolerance(*X.shape, C), self.w, self.matrix, self.at
        here, passes = slope(X, positive, w, C), 1
        while here.norm > goal:
            passes += 1
            if matrix is None:
                matrix, at = _curvature(X, here.p, C), w
            direction = _newton(matrix, here.gradient)
            found = _along(lambda v: slope(X, positive, v, C), w, direction, here, at is w)
            if passes > _MOST or (found is None and at is w):
                raise RunFailed(
                    "logistic regression cannot be solved to its tolerance",
                    found=f"a gradient of {here.norm:.3g} at which no step leads on",
                    expected=f"{goal:.3g}",
                    fix="lower C, or leave out columns that are nearly alike",
                )
            if found is None:
                matrix = None
                continue
            w, there = found
            matrix = matrix if there.norm <= _SLOW * here.norm else None
            here = there
        if passes > _PASSES:
            matrix, at = _curvature(X, here.p, C), w
        return replace(self, w=w, matrix=matrix, at=at, residual=here.norm)


def _newton(matrix: np.ndarray, gradient: np.ndarray) -> np.ndarray | None:
    try:
        direction: np.ndarray = cho_solve(cho_factor(matrix), gradient)
    except LinAlgError:
        return None
    return direction


def _along(
    measure: Callable[[np.ndarray], Slope], w: np.ndarray, direction: np.ndarray | None, here: Slope, present: bool
) -> tuple[np.ndarray, Slope] | None:
    """Return the first of the points at 1, 1/2, 1/4, ... along a step where the gradient is smaller.

    None where there is none, or where the matrix is an old one and the whole step does not do it.
    """
    if direction is None:
        return None
    share = 1.0
    for _ in range(_HALVINGS if present else 1):
        trial = w - share * direction
        there = measure(trial)
        if there.norm <= (1 - 1e-4 * share) * here.norm:
            return trial, there
        share /= 2
    return None


def _curvature(X: np.ndarray, p: np.ndarray, C: float) -> np.ndarray:
    """Return the second derivatives of the objective, [width, width]."""
    matrix = np.eye(X.shape[1]) / C
    root = np.sqrt(p * (1 - p))
    for start in range(0, len(X), 4096):
        scaled = X[start : start + 4096] * root[start : start + 4096, None]
        matrix += scaled.T @ scaled
    return matrix
