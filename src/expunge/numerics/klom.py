"""KL divergence of margins between unlearned and retrained models: KLoM as published, and an unbiased replacement.

Source: KLoM, Georgiev et al. 2024, arXiv 2410.23232; bins and floor as in its code
(RoyRin/data-unlearning-bench, unlearning_bench/eval.py), but the largest value stays in the last bin. KLoM of equal
distributions is .34 at 100 models and 3.8 at 16, since a bin without a retrained model adds ln(1e5 / M) / M: read it
beside its null. The Gaussian form corrects plug-in moments by E[1/chi^2] and is 0 in the mean under the null.
Shapes: M models on either side, N records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from expunge.numerics._arrays import Array, numbers, pair
from expunge.numerics._exchange import exchanged

BINS, CLIP, FLOOR = 20, 100.0, 1e-5
KLOM_MODELS = 16
GAUSSIAN_MODELS = 6
"""The variance of the estimate is infinite with fewer."""
SKEW_MODELS = 8
"""The test of the skewness is calibrated from 8 values on (D'Agostino 1970)."""


@dataclass(frozen=True)
class Klom:
    """KLoM per record [N], in nats, beside its mean [N] when models are exchanged between the sides.

    ``mean`` and ``high`` are the mean and the 95th percentile over records, as published, ``null_mean`` and
    ``null_high`` the same over exchanges; ``p_value`` the share of exchanges, this one among them, of so large a mean.
    """

    models: int
    value: Array
    null: Array
    mean: float
    high: float
    null_mean: float
    null_high: float
    p_value: float


def klom(unlearned: ArrayLike, *, retrained: ArrayLike, exchanges: int = 20, seed: int = 0) -> Klom:
    """Return KLoM of confidences [M, N], M of 16 or more, with its null from exchanging whole models.

    Not from a bootstrap, which doubles the bias (.345 becomes .674 at 100 models).

    Raises:
        ValueError: wrong shapes, NaN, fewer than 16 models.
    """
    one, other = pair(unlearned, retrained, ("unlearned", "retrained"), least=KLOM_MODELS)
    value = binned_kl(one, retrained=other)
    halves = exchanged(one, other, times=exchanges, seed=seed)
    nulls = np.stack([binned_kl(first, retrained=second) for first, second in halves])
    return Klom(
        models=len(one),
        value=value,
        null=nulls.mean(axis=0),
        mean=float(value.mean()),
        high=float(np.quantile(value, 0.95)),
        null_mean=float(nulls.mean()),
        null_high=float(np.quantile(nulls, 0.95, axis=1).mean()),
        p_value=float((1 + (nulls.mean(axis=1) >= value.mean()).sum()) / (1 + exchanges)),
    )


def binned_kl(unlearned: ArrayLike, *, retrained: ArrayLike) -> Array:
    """Return KL(unlearned || retrained) of histograms, [N], in nats, 0 or more, and 0 where all values are equal.

    Any number of models, the same on both sides. Values clipped to +-100, 20 equal bins over the joint range, shares
    of ``retrained`` at least 1e-5 where ``unlearned`` has any and then scaled to sum 1.
    """
    one, other = pair(unlearned, retrained, ("unlearned", "retrained"), least=1)
    one, other = np.clip(one, -CLIP, CLIP), np.clip(other, -CLIP, CLIP)
    low = np.minimum(one.min(axis=0), other.min(axis=0))
    width = np.maximum(one.max(axis=0), other.max(axis=0)) - low
    p, q = (histogram_counts(side, low=low, width=width) / len(side) for side in (one, other))
    q = np.where(p > 0, np.maximum(q, FLOOR), q)
    result: Array = special.rel_entr(p, q / q.sum(axis=1, keepdims=True)).sum(axis=1)
    return result


def histogram_counts(values: Array, *, low: Array, width: Array) -> NDArray[np.int64]:
    """Return how many of ``values`` [M, N] lie in each of 20 equal bins from ``low`` [N] on, [N, 20]; rows sum to M."""
    share = (values - low) / np.where(width > 0, width, 1.0)
    place = np.minimum((share * BINS).astype(np.int64), BINS - 1)
    flat = place + BINS * np.arange(values.shape[1])
    return np.bincount(flat.ravel(), minlength=BINS * values.shape[1]).reshape(-1, BINS)


def gaussian_kl(unlearned: ArrayLike, *, retrained: ArrayLike) -> Array:
    """Return an unbiased estimate of KL(unlearned || retrained) of two normal laws, [N], in nats.

    With c = (M-3)/(M-1): [c (1 - 1/M) v_U/v_R + c (m_U - m_R)^2/v_R - 1/M - 1 + ln(v_R/v_U)] / 2. Single values may
    be negative: average over records before reading, clip nothing. NaN where a side does not vary.

    Raises:
        ValueError: wrong shapes, NaN, fewer than 6 models.
    """
    one, other = pair(unlearned, retrained, ("unlearned", "retrained"), least=GAUSSIAN_MODELS)
    models = len(one)
    shrink = (models - 3) / (models - 1)
    v_one, v_other = one.var(axis=0, ddof=1), other.var(axis=0, ddof=1)
    varies = (np.ptp(one, axis=0) > 0) & (np.ptp(other, axis=0) > 0)
    v_one, v_other = (np.where(varies, v, np.nan) for v in (v_one, v_other))
    apart = (one.mean(axis=0) - other.mean(axis=0)) ** 2
    result: Array = 0.5 * (
        shrink * ((1 - 1 / models) * v_one + apart) / v_other - 1 / models - 1 + np.log(v_other / v_one)
    )
    return result


def gaussian_kl_deviation(models: int) -> float:
    """Return the exact standard deviation of :func:`gaussian_kl` on one record of two equal normal laws.

    Derived from moments of independent chi-squared X (unlearned), Y (retrained) and a normal mean difference;
    .42 at 8 models, .15 at 16, .07 at 32.
    """
    if models < GAUSSIAN_MODELS:
        raise ValueError(f"needs {GAUSSIAN_MODELS} models on each side, found {models}")
    freedom = models - 1
    half = freedom / 2
    shrink, own, between = (models - 3) / (models - 1), 1 - 1 / models, 2 / models
    # W = own X + between Z^2, to be divided by Y.
    w1 = own + between
    w2 = own**2 * (1 + 2 / freedom) + 2 * own * between + 3 * between**2
    y1, y2 = freedom / (freedom - 2), freedom**2 / ((freedom - 2) * (freedom - 4))
    quotient = w2 * y2 - (w1 * y1) ** 2
    logs = 2 * float(special.polygamma(1, half))
    with_x = y1 * own * 2 / freedom
    with_y = -w1 * half / (half - 1) ** 2
    return 0.5 * math.sqrt(shrink**2 * quotient + logs - 2 * shrink * with_x + 2 * shrink * with_y)


def skewed_share(values: ArrayLike, *, level: float = 0.01) -> float:
    """Return the share of records whose values [M, N] are skewed at ``level``: about that where they are normal.

    Source: D'Agostino 1970, Biometrika 57. Far more than ``level`` says: read :func:`klom`, not the Gaussian form.

    Raises:
        ValueError: wrong shapes, NaN, fewer than 8 models.
    """
    sample = numbers(values, "values", ndim=2)
    if len(sample) < SKEW_MODELS:
        raise ValueError(f"needs {SKEW_MODELS} models, found {len(sample)}")
    varies = np.ptp(sample, axis=0) > 0
    if not varies.any():
        return math.nan
    return float((stats.skewtest(sample[:, varies], axis=0).pvalue < level).mean())
