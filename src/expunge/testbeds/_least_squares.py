"""Penalised least squares with an intercept, from the singular values of the centred inputs."""

from __future__ import annotations

import numpy as np


def solve(x: np.ndarray, y: np.ndarray, *, penalty: float) -> dict[str, np.ndarray]:
    """Minimise ``sum (y - x w - b)^2 + penalty ||w||^2`` over w and b; return ``coef`` [d], ``intercept``, ``rank``.

    Of several minimisers (penalty 0, rank below d) the one with the least ``||w||``; b has no part in the norm.
    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd ed., eqs. 3.41 to 3.47:
    the best b makes the residuals sum to zero, so inputs and targets are centred and
    ``w = V diag(s / (s^2 + penalty)) U^T (y - mean y)``.
    """
    centre, level = x.mean(axis=0), y.mean()
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    # Centring n equal rows leaves rounding of the size of x, not zeros: "zero" is relative to x before centring.
    live = s > np.finfo(float).eps * max(x.shape) * np.linalg.norm(x)
    shrunk = s[live] / (s[live] ** 2 + penalty)
    coef = vt[live].T @ (shrunk * (u[:, live].T @ (y - level)))
    return {"coef": coef, "intercept": np.asarray(level - centre @ coef), "rank": np.asarray(int(live.sum()))}
