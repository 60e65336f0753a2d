"""The interval of (unlearned - reference), and what follows from it.

K references, one seed each, with values r_1..r_K of sample standard deviation s. A new retrained model
differs from their mean with variance sigma^2 (1 + 1/K), so the half-width at one-sided error alpha is

    t(1 - alpha, K - 1) * sqrt( (scale * s)^2 (1 + 1/K) + record_error^2 )

(prediction interval; Student 1908, see Hahn and Meeker, Statistical Intervals, section 4.7). The record
error is the standard error over records of the paired difference, as far as seeds do not explain it
(:func:`beyond_seeds`): what is judged is also a sample of records, and a model may differ on some of them more than
retrained ones do from each other. What these differ by from record to record is in s already. Two one-sided tests at
alpha each (Schuirmann 1987): the interval has confidence 1 - 2 alpha.

How often this is right, for which laws of seeds and how many references and records, is simulated in
``benchmarks/intervals.py`` and told in ``docs/concepts/coverage.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from expunge.core.check import Interval

Array = NDArray[np.float64]
Clusters = NDArray[np.int64]
UNSEEN = 3
"""Units that may differ although none was seen to: the rule of three."""
MIN_REFERENCES = 3
"""With fewer, a spread cannot be estimated in any useful way (t(0.95, 1) is 6.3)."""


def seed_error(references: Sequence[float], scale: float = 1.0) -> float:
    """Return scale * s * sqrt(1 + 1/K): the standard error that seeds give the difference."""
    count = len(references)
    if count < MIN_REFERENCES:
        raise ValueError(f"needs {MIN_REFERENCES} references or more, found {count}")
    return scale * float(np.std(references, ddof=1)) * math.sqrt(1.0 + 1.0 / count)


def half_width(spread: ArrayLike, references: int, *, record_error: ArrayLike, alpha: float) -> Array:
    """Return the half-width of the interval, of the shape of ``spread``: the formula above.

    Args:
        spread: scale * s, the standard deviation over references, in the unit of the check; a number or an array.
        references: their number, K.
        record_error: standard error over records, in the same unit; a number or an array.
        alpha: one-sided error.
    """
    errors = np.hypot(np.asarray(spread) * math.sqrt(1.0 + 1.0 / references), record_error)
    half: Array = _t(1.0 - alpha, references - 1) * errors
    return half


def largest_record_error(spread: float, references: int, *, half: float, alpha: float) -> float:
    """Return the record error at which :func:`half_width` is ``half``; 0 where no error is small enough."""
    rest = (half / _t(1.0 - alpha, references - 1)) ** 2 - spread**2 * (1.0 + 1.0 / references)
    return math.sqrt(max(rest, 0.0))


def difference(
    value: float, references: Sequence[float], *, record_error: float, alpha: float, scale: float = 1.0
) -> Interval:
    """Return the interval of ``value - mean(references)`` at confidence ``1 - 2 alpha``."""
    count = len(references)
    spread = seed_error(references, scale) / math.sqrt(1.0 + 1.0 / count)
    half = float(half_width(spread, count, record_error=record_error, alpha=alpha))
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
        return float(half_width(0.0, count, record_error=record_error, alpha=alpha) <= margin)
    grid = (np.arange(400) + 0.5) / 400
    spread = sigma / math.sqrt(1.0 + 1.0 / count) * np.sqrt(stats.chi2.ppf(grid, count - 1) / (count - 1))
    half = half_width(spread, count, record_error=record_error, alpha=alpha)
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


def beyond_seeds(errors: Mapping[str, float], references: Sequence[str]) -> dict[str, float]:
    """Return per model the error over records that is left when what seeds do to single records is taken out.

    Seeds change what a model says of one record and not of the next. Over n records this leaves sigma^2/n in the mean:
    it is in the spread s of the references' means, and it is in the error over records as well, where it would count
    twice. The references' own errors say how much of it there is, so that
    sqrt(max(0, error^2 - (K^2 - 1)/K^2 * mean of their error^2)) is left: the factor allows for a model being compared
    with all K of them, while they are compared with K - 1 each. For a true retrain nothing is left but noise; for a
    model that is unlike retrained ones on some records only, that is.

    Args:
        errors: standard error over records of each model's difference from the mean of the (other) references.
        references: two or more names in ``errors``; a reference is compared with the errors of the others.
    """
    count = len(references)
    left = {}
    for model, error in errors.items():
        others = [errors[name] ** 2 for name in references if name != model]
        shared = math.fsum(others) / len(others) * (1.0 if model in references else 1.0 - 1.0 / count**2)
        left[model] = math.sqrt(max(0.0, error**2 - shared))
    return left


def unseen_units(units: int, unseen: int = UNSEEN) -> float:
    """Return sqrt(unseen)/G: the least error of a mean over G independent units that stand for many others.

    Where none of them differs, a rate of up to about 3/G goes unseen (rule of three, Hanley and Lippman-Hand 1983),
    which Student's quantile times sqrt(3)/G is, and where few do their spread tells too little (the error of few
    events is skewed). Added in quadrature, neither a handful of records nor a thousand of one person can vouch for a
    whole distribution.
    """
    return math.sqrt(unseen) / units


def left_over(drawn: int, of: int | None) -> float:
    """Return sqrt(1 - drawn/of): what remains of the error of a mean over ``drawn`` records that stand for ``of``.

    The finite population correction (Cochran 1977, Sampling Techniques, 2.6): of records that were all looked at the
    mean is known. 1 where they stand for any number of records (``of`` is None).
    """
    return 1.0 if of is None else math.sqrt(max(0.0, 1.0 - drawn / of))


def sample_error(differences: Array, clusters: Clusters | None = None, *, unseen: int = UNSEEN) -> float:
    """Return the error of a mean over records that stand for many others, as if ``unseen`` more units differed.

    hypot(:func:`clustered_error`, :func:`unseen_units`); units are clusters where there are any, else records.
    """
    units = len(differences) if clusters is None else int(clusters.max()) + 1
    return math.hypot(clustered_error(differences, clusters), unseen_units(units, unseen))


def clustered_error(differences: Array, clusters: Clusters | None = None) -> float:
    """Return the standard error of the mean of ``differences`` [n] where those of one cluster go together.

    sqrt(G/(G - 1) * sum over clusters of (sum of residuals)^2) / n with G clusters, numbered 0..G-1 in ``clusters``
    [n]: Liang and Zeger 1986 for a mean, with the small-sample factor of Cameron and Miller 2015, section III.
    Without clusters every record is one, which makes it :func:`paired_error`. One cluster has no error that could be
    seen: 0.
    """
    if clusters is None:
        return paired_error(differences)
    sums = np.bincount(clusters, weights=differences - np.mean(differences))
    count = len(sums)
    if count < 2:
        return 0.0
    return float(math.sqrt(count / (count - 1) * np.square(sums).sum()) / len(differences))


def _t(probability: float, freedom: int) -> float:
    # The special function itself: scipy.stats wraps it in checks that cost fifty times as much.
    return float(special.stdtrit(freedom, probability))


def paired_error(differences: Array) -> float:
    """Return the standard error of the mean of per-record differences, [n]; 0 for a single record."""
    count = len(differences)
    return float(np.std(differences, ddof=1) / math.sqrt(count)) if count > 1 else 0.0


def unseen_error(n: int, references: int) -> float:
    """Return 2/(n K): the least error where K references say one and the same of n records, as shares do.

    One answer in n that retraining gives at a rate of q is the same in all of K with probability (1 - q)^K, so that
    a difference of (1 - alpha^(1/K))/n goes unseen with probability alpha. Student's quantile times 2/(n K) is
    somewhat more: 1.1 to 4 times for alpha = 0.025 and K from 50 down to 3. With a spread of 0, five references that
    agree on a single record would vouch for it, which they do three times in four where one in twenty retrained
    models says otherwise.
    """
    return 2.0 / (n * references)
