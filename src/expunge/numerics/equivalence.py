"""The interval of (unlearned - reference), and what follows from it.

K references, one seed each, with values r_1..r_K of sample standard deviation s. A new retrained model
differs from their mean with variance sigma^2 (1 + 1/K), so the half-width at one-sided error alpha is

    t(1 - alpha, K - 1) * sqrt( (scale * s)^2 (1 + 1/K) + record_error^2 )

(prediction interval; Student 1908, see Hahn and Meeker, Statistical Intervals, section 4.7). The record
error is the standard error over records of the paired difference: what is judged is also a sample of
records. It is added in quadrature; for a true retrain it partly counts the seed spread twice, which widens
the interval. Two one-sided tests at alpha each (Schuirmann 1987): the interval has confidence 1 - 2 alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from expunge.core.check import Interval

Array = NDArray[np.float64]
MIN_REFERENCES = 3
"""With fewer, a spread cannot be estimated in any useful way (t(0.95, 1) is 6.3)."""


def seed_error(references: Sequence[float], scale: float = 1.0) -> float:
    """Return scale * s * sqrt(1 + 1/K): the standard error that seeds give the difference."""
    count = len(references)
    if count < MIN_REFERENCES:
        raise ValueError(f"needs {MIN_REFERENCES} references or more, found {count}")
    return scale * float(np.std(references, ddof=1)) * math.sqrt(1.0 + 1.0 / count)


def difference(
    value: float, references: Sequence[float], *, record_error: float, alpha: float, scale: float = 1.0
) -> Interval:
    """Return the interval of ``value - mean(references)`` at confidence ``1 - 2 alpha``."""
    error = math.hypot(seed_error(references, scale), record_error)
    half = _t(1.0 - alpha, len(references) - 1) * error
    centre = value - float(np.mean(references))
    return Interval(centre - half, centre + half, 1.0 - 2.0 * alpha)


def pass_chance(
    references: Sequence[float], *, record_error: float, alpha: float, margin: float, scale: float = 1.0
) -> float:
    """Return the probability that a true retrain passes, were its spread the one observed.

    Integrates over the chi-square law of the spread that an audit with as many references would see.
    """
    count = len(references)
    sigma = seed_error(references, scale)
    if sigma == 0.0:
        half = _t(1.0 - alpha, count - 1) * record_error
        return float(half <= margin)
    grid = (np.arange(400) + 0.5) / 400
    spread = sigma * np.sqrt(stats.chi2.ppf(grid, count - 1) / (count - 1))
    half = _t(1.0 - alpha, count - 1) * np.hypot(spread, record_error)
    room = np.maximum(margin - half, 0.0)
    inside = np.where(margin >= half, 2.0 * stats.norm.cdf(room / sigma) - 1.0, 0.0)
    return float(inside.mean())


def smallest_shown(
    references: Sequence[float],
    *,
    record_error: float,
    alpha: float,
    margin: float,
    scale: float = 1.0,
    power: float = 0.8,
) -> float:
    """Return the smallest true difference that is called a failure with probability ``power``."""
    freedom = len(references) - 1
    error = math.hypot(seed_error(references, scale), record_error)
    return margin + error * (_t(1.0 - alpha, freedom) + _t(power, freedom))


def leave_one_out(references: Sequence[float]) -> Array:
    """Return r_k minus the mean of the others, [K]: what the check says when nothing is wrong."""
    values = np.asarray(references, dtype=np.float64)
    return values - (values.sum() - values) / (len(values) - 1)


def sample_error(differences: Array) -> float:
    """Return :func:`paired_error` for records that stand for many others, at least 1/n.

    Where no record of n differs, a rate of up to about 3/n goes unseen (rule of three, Hanley and
    Lippman-Hand 1983); an error of 0 would let a handful of records vouch for a whole distribution.
    """
    return max(paired_error(differences), 1.0 / len(differences))


def _t(probability: float, freedom: int) -> float:
    # The special function itself: scipy.stats wraps it in checks that cost fifty times as much.
    return float(special.stdtrit(freedom, probability))


def paired_error(differences: Array) -> float:
    """Return the standard error of the mean of per-record differences, [n]; 0 for a single record."""
    count = len(differences)
    return float(np.std(differences, ddof=1) / math.sqrt(count)) if count > 1 else 0.0
