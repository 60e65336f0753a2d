"""The intervals of a report, recomputed from its values with the standard library: a verifier needs no more.

The formulas are those of ``numerics/equivalence`` (references: Student's law) and ``numerics/known`` (a yardstick: the
normal law), the quantiles computed another way.
"""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev

from expunge.core.check import Interval, Measurement

_CLOSE = 1e-6
"""Of the half-width: what two ways to compute a quantile may differ by."""


def recomputed(result: Measurement, alpha: float) -> Interval | None:
    """Return the interval of the difference at confidence ``1 - 2 alpha``; None where nothing says how wide it is."""
    if not 0.0 < alpha < 0.5:
        return None
    if result.yardstick is not None:
        centre = result.value - result.yardstick.value
        half = NormalDist().inv_cdf(1.0 - alpha) * result.record_error
    elif len(result.references) >= 2:
        count = len(result.references)
        centre = result.value - fmean(result.references)
        seeds = result.seed_scale * stdev(result.references) * math.sqrt(1.0 + 1.0 / count)
        half = student(1.0 - alpha, count - 1) * math.hypot(seeds, result.record_error)
    else:
        return None
    return Interval(centre - half, centre + half, 1.0 - 2.0 * alpha)


def same(one: Interval | None, other: Interval | None, scale: float = 0.0) -> bool:
    """Return whether two intervals are one but for rounding; ``scale`` is the size of the values that they are of."""
    if one is None or other is None:
        return one is other
    size = max(scale, abs(other.low), abs(other.high))
    room = _CLOSE * (abs(other.high - other.low) + 1e-6 * size)
    pairs = ((one.low, other.low), (one.high, other.high))
    return all(abs(a - b) <= room for a, b in pairs) and math.isclose(one.level, other.level, rel_tol=1e-9)


def student(probability: float, freedom: int) -> float:
    """Return the quantile of Student's law; ``probability`` in (0.5, 1), ``freedom`` 1 or more.

    By bisection on the finite sums of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < 2.0 * probability - 1.0 and high < 1e12:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = (low + high) / 2.0
        if not low < middle < high:
            break
        low, high = (middle, high) if _within(middle, freedom) < 2.0 * probability - 1.0 else (low, middle)
    return (low + high) / 2.0


def _within(t: float, freedom: int) -> float:
    """Return the probability of |T| <= t."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2 == 1
    term, total = (cosine, cosine if freedom > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    return 2.0 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
