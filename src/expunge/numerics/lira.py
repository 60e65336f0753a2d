"""LiRA: the likelihood ratio of a record's confidence under models that saw it and models that did not.

Source: Carlini et al. 2022, arXiv 2112.03570, section V (online and offline attack). Variances
shrunk towards the pooled one: normal-inverse-gamma, as BaVarIA, arXiv 2603.11799. Mean differences shrunk as in
empirical Bayes (Morris 1983, JASA 78): together "doubly shrunk", the best at every K of 4 or more that was measured.
Shapes: K references, T targets, N records. Signals are logit-scaled confidences (``membership.confidence``).
With several augmentations of a record, score each apart and average the scores.
Not covered: the joint law of several augmentations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from expunge.numerics._arrays import Array, Mask, mask, numbers, outside

PRIOR = 8.0
"""Weight of the pooled variance, in observations: best or tied at every K on Location-30 (measured)."""
_LEAST_VARIANCE = 1e-12
"""A deviation of 1e-6 is the rounding of float32 logits near 10: less is not a spread of models."""
_LEAST_EFFECT_VARIANCE = 1e-6


class Variant(StrEnum):
    """How the two Gaussians of a record are fitted."""

    PER_EXAMPLE = "per-example variance"
    FIXED = "fixed variance"
    SHRUNK = "shrunk variance"
    DOUBLY_SHRUNK = "shrunk mean difference and variance"
    OFFLINE_PER_EXAMPLE = "offline, per-example variance"
    OFFLINE_FIXED = "offline, fixed variance"
    OFFLINE_SHRUNK = "offline, shrunk variance"

    @property
    def offline(self) -> bool:
        """Whether only models that did not see the record are used, and only the upper tail counts."""
        return self.value.startswith("offline")


def lira(
    target: ArrayLike, *, references: ArrayLike, keep: ArrayLike, variant: Variant = Variant.DOUBLY_SHRUNK
) -> Array:
    """Return the scores of targets, in the shape of ``target`` [N] or [T, N]; larger means more like a member.

    Args:
        target: confidences under the models that are attacked, none of which may be a reference.
        references: confidences [K, N] under the reference models.
        keep: booleans [K, N], which reference was trained on which record.
        variant: how the Gaussians are fitted. Online variants give log likelihood ratios (nats, 0 is undecided),
            offline ones the log of a lower tail, at most 0.

    Returns NaN where a record's own references cannot carry the variant: fewer than 2 on a side for a per-example
    variance, none on a needed side otherwise. Doubly shrunk takes 1 reference of either kind per record.

    Raises:
        ValueError: wrong shapes, NaN, a target among the references, or too few references for any record.
    """
    phi = numbers(references, "references", ndim=2)
    seen = mask(keep, "keep", shape=phi.shape)
    rows = numbers(target, "target", ndim=2 if np.ndim(target) == 2 else 1)
    targets = np.atleast_2d(rows)
    outside(targets, phi)
    inner, outer = _Side.of(phi, seen), _Side.of(phi, ~seen)
    fit = _fit(inner, outer, variant)
    return np.stack([fit.score(row) for row in targets]).reshape(rows.shape)


def lira_each(phi: ArrayLike, *, keep: ArrayLike, variant: Variant = Variant.DOUBLY_SHRUNK) -> Array:
    """Return the scores [K, N] of every model, each against the K - 1 others.

    The own row is taken out of the sums of ``phi`` [K, N]: O(K N), not O(K^2 N). Otherwise as :func:`lira`.
    """
    values = numbers(phi, "phi", ndim=2)
    seen = mask(keep, "keep", shape=values.shape)
    if len(values) < 2:
        raise ValueError("needs 2 models or more, each of which is attacked with the others; found 1")
    inner, outer = _Side.of(values, seen), _Side.of(values, ~seen)
    scores = np.empty_like(values)
    for index, (row, own) in enumerate(zip(values, seen, strict=True)):
        scores[index] = _fit(inner.without(row, own), outer.without(row, ~own), variant).score(row)
    return scores


@dataclass(frozen=True)
class _Side:
    """Count, mean and sum of squared deviations of one side's confidences, each [N]."""

    count: Array
    mean: Array
    squares: Array

    @classmethod
    def of(cls, phi: Array, chosen: Mask) -> _Side:
        count = chosen.sum(axis=0, dtype=np.float64)
        total, squares = np.zeros_like(count), np.zeros_like(count)
        # Row by row, which stays in the cache; in two passes, since E[x^2] - m^2 cancels.
        for row, own in zip(phi, chosen, strict=True):
            total += row * own
        mean = total / np.maximum(count, 1.0)
        for row, own in zip(phi, chosen, strict=True):
            squares += ((row - mean) * own) ** 2
        return cls(count, mean, squares)

    def without(self, row: Array, chosen: Mask) -> _Side:
        """Return the side with ``row`` taken out where it was ``chosen``."""
        left = self.count - chosen
        apart = (row - self.mean) * chosen
        step = apart / np.maximum(left, 1.0)
        squares = self.squares - apart * step * self.count
        return _Side(left, self.mean - step, np.maximum(squares, 0.0))

    @property
    def freedom(self) -> Array:
        return np.maximum(self.count - 1.0, 0.0)

    def pooled(self) -> float | None:
        """Return the variance within records, None where no record has two values.

        Not that of all values: it would add the spread between records.
        """
        freedom = float(self.freedom.sum())
        return float(self.squares.sum()) / freedom if freedom else None

    def variance(self, variant: Variant, pool: float | None, name: str) -> Array:
        if variant in (Variant.PER_EXAMPLE, Variant.OFFLINE_PER_EXAMPLE):
            enough = self.count >= 2
            if not enough.any():
                raise ValueError(f"a per-example variance needs 2 references {name} a record, found at most 1")
            return np.where(enough, self.squares / np.maximum(self.freedom, 1.0), np.nan)
        if pool is None:
            raise ValueError(
                f"a pooled variance needs some record with 2 references {name} it, found at most 1: "
                "with so few take the doubly shrunk variant or RMIA"
            )
        if variant in (Variant.FIXED, Variant.OFFLINE_FIXED):
            return np.where(self.count >= 1, pool, np.nan)
        shrunk: Array = (self.squares + PRIOR * pool) / (self.freedom + PRIOR)
        return shrunk if variant is Variant.DOUBLY_SHRUNK else np.where(self.count >= 1, shrunk, np.nan)


@dataclass(frozen=True)
class _Fit:
    """The Gaussians of each record: of models that saw it (None offline) and of models that did not."""

    inner: tuple[Array, Array] | None
    outer: tuple[Array, Array]

    def score(self, phi: Array) -> Array:
        mean, variance = self.outer
        z = (phi - mean) / np.sqrt(variance)
        if self.inner is None:
            result: Array = special.log_ndtr(z)
            return result
        mean_in, variance_in = self.inner
        z_in = (phi - mean_in) / np.sqrt(variance_in)
        return 0.5 * (z**2 - z_in**2 + np.log(variance / variance_in))


def _fit(inner: _Side, outer: _Side, variant: Variant) -> _Fit:
    pool_in, pool_out = inner.pooled(), outer.pooled()
    if variant is Variant.DOUBLY_SHRUNK:
        freedom = float((inner.freedom + outer.freedom).sum())
        # One reference has no spread within a record; the scale of the score is then free.
        both = float((inner.squares + outer.squares).sum()) / freedom if freedom else 1.0
        pool_in, pool_out = (both if pool is None else pool for pool in (pool_in, pool_out))
        mean_in, mean_out = _shrunk_means(inner, outer, max(both, _LEAST_VARIANCE))
    else:
        mean_in, mean_out = inner.mean, outer.mean
    variance_out = np.maximum(outer.variance(variant, pool_out, "without"), _LEAST_VARIANCE)
    if variant.offline:
        return _Fit(None, (mean_out, variance_out))
    variance_in = np.maximum(inner.variance(variant, pool_in, "with"), _LEAST_VARIANCE)
    return _Fit((mean_in, variance_in), (mean_out, variance_out))


def _shrunk_means(inner: _Side, outer: _Side, variance: float) -> tuple[Array, Array]:
    """Return the means of both sides with their difference shrunk towards the one common to all records."""
    if not (inner.count.any() and outer.count.any()):
        raise ValueError("needs references with and references without some record, found only one kind")
    whole = (inner.count > 0) & (outer.count > 0)
    count_in, count_out = np.maximum(inner.count, 1.0), np.maximum(outer.count, 1.0)
    apart = inner.mean - outer.mean
    weight = np.zeros_like(apart)
    if whole.any():
        error = variance * (1.0 / count_in + 1.0 / count_out)
        common = float(np.average(apart[whole], weights=1.0 / error[whole]))
        effect = max(float(((apart - common) ** 2 - error)[whole].mean()), _LEAST_EFFECT_VARIANCE)
        weight = np.where(whole, effect / (effect + error), 0.0)
    else:  # a single reference: the records that it saw against those that it did not
        common = float(inner.mean[inner.count > 0].mean() - outer.mean[outer.count > 0].mean())
    shrunk = weight * apart + (1.0 - weight) * common
    total = inner.count + outer.count
    centre = (inner.count * (inner.mean - shrunk / 2) + outer.count * (outer.mean + shrunk / 2)) / total
    return centre + shrunk / 2, centre - shrunk / 2
