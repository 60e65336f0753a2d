"""How much of a subject's data a model was trained on, from the yes or no of a membership attack on each record.

Source: DUCI, Tong et al. 2025 (ICLR): each call m of an attack of known rates gives the unbiased estimate
(m - FPR) / (TPR - FPR) of the record's membership. Clipped, if at all, after averaging: clipping each would bias it.
Interval of the rate of calls: Clopper and Pearson 1934, carried over by the same line.
Not covered: the error of the rates themselves, and an attack whose rates on this subject differ from those stated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from expunge.numerics._arrays import mask


@dataclass(frozen=True)
class Usage:
    """``share`` in [0, 1] with an interval, of ``n`` records; ``unclipped`` is unbiased and may lie outside."""

    share: float
    low: float
    high: float
    unclipped: float
    n: int


def usage(called: ArrayLike, *, tpr: float, fpr: float, alpha: float = 0.05) -> Usage:
    """Return the share of records in use, from ``called`` [n], booleans: the attack took the record for a member.

    Args:
        called: the attack's calls.
        tpr: its rate on members, measured on other records with models of known membership.
        fpr: its rate on non-members, less than ``tpr``.
        alpha: two-sided error of the interval, which is exact for independent calls of one rate.

    Raises:
        ValueError: no booleans, no records, or an attack that does not tell members apart (tpr <= fpr).
    """
    calls = mask(called, "called", shape=np.shape(called))
    if calls.ndim != 1 or not calls.size:
        raise ValueError(f"called has shape {list(calls.shape)}; it takes one axis and 1 record or more")
    if not 0 <= fpr < tpr <= 1:
        raise ValueError(f"0 <= fpr < tpr <= 1 is needed, found fpr {fpr} and tpr {tpr}: such an attack says nothing")
    hits, n = int(calls.sum()), len(calls)
    low = float(special.betaincinv(hits, n - hits + 1, alpha / 2)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, n - hits, 1 - alpha / 2)) if hits < n else 1.0
    unclipped, low, high = ((rate - fpr) / (tpr - fpr) for rate in (hits / n, low, high))
    share, low, high = (min(max(value, 0.0), 1.0) for value in (unclipped, low, high))
    return Usage(share, low, high, unclipped, n)
