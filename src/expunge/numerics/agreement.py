"""Do two figures put the same things in the same order? A rank correlation with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation ``rho`` over ``n`` pairs, in [-1, 1], with its interval from ``low`` to ``high``."""

    rho: float
    low: float
    high: float
    n: int


def agreement(first: ArrayLike, second: ArrayLike, *, confidence: float = CONFIDENCE) -> Agreement:
    """Return the rank correlation of two figures [n], n >= 4, ties sharing their mean rank.

    The interval is Fisher's, with the variance of ranks, (1 + rho^2 / 2) / (n - 3) (Bonett and Wright 2000,
    Psychometrika 65(1), equation 3): independent pairs. Of perfect order, which has no such interval, it is that of the
    nearest order that is not.

    Raises:
        ValueError: fewer than 4 pairs, or a figure that is the same everywhere: there is no order to compare.
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    n = len(x)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"no order to compare: {n} pairs, 4 or more that differ are needed")
    rho = float(stats.spearmanr(x, y).statistic)
    nearest = 1 - 12 / (n * (n * n - 1))  # two neighbours exchanged
    inside = max(-nearest, min(nearest, rho))
    half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + inside**2 / 2) / (n - 3))
    low, high = math.tanh(math.atanh(inside) - half), math.tanh(math.atanh(inside) + half)
    return Agreement(rho, min(rho, low), max(rho, high), n)
