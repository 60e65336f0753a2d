"""RMIA: is the target more likely on a record than references are, by more than on records of the population?

Source: Zarifzadeh et al. 2024, arXiv 2312.03262, section 3 (pairwise test, offline form). All in logarithms, so that
probabilities of sequences do not vanish.
For one target the order of the records is that of :func:`log_ratio` alone: the population gives an absolute scale,
to pool targets or to state a p-value, and no gain within a target.
Shapes: N records, Z population records, K references.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from expunge.numerics._arrays import Array, Mask, mask, numbers, outside
from expunge.numerics.membership import ranking

SCALE = 0.3
"""How probability on unseen records grows to that on seen ones, tuned on Location-30 (measured); see :func:`scale`."""


def log_ratio(
    target: ArrayLike,
    *,
    references: ArrayLike,
    keep: ArrayLike | None = None,
    offline: bool = False,
    scale: float = SCALE,
) -> Array:
    """Return log p(record | target) - log P(record), [N]; larger means more like a member.

    ``P = (P_in + P_out) / 2`` over the references with and without the record. Where one kind is missing it follows
    from the other by ``P_in = scale P_out + 1 - scale``, floored at 0.

    Args:
        target: log-probabilities [N] of the label (or sequence), at most 0.
        references: the same under the references, [K, N], K of 1 or more.
        keep: booleans [K, N], which reference was trained on which record; None where none was on any.
        offline: use references without the record only; NaN where a record has none. The p-value asks for it.
        scale: in [0, 1].

    Raises:
        ValueError: wrong shapes, NaN, a log-probability above 0, or a target among the references.
    """
    logp = numbers(target, "target", ndim=1)
    others = numbers(references, "references", ndim=2)
    if max(logp.max(), others.max()) > 0:
        raise ValueError(f"log-probabilities are at most 0, found {max(logp.max(), others.max()):.3g}")
    if not 0 <= scale <= 1:
        raise ValueError(f"scale is in [0, 1], found {scale}")
    outside(logp[None], others)
    seen = np.zeros(others.shape, dtype=bool) if keep is None else mask(keep, "keep", shape=others.shape)
    log_out = _log_mean(others, ~seen)
    inferred_in = np.logaddexp(_log(scale) + log_out, _log(1.0 - scale))
    if offline:
        usual = np.logaddexp(inferred_in, log_out)
        return np.where(seen.all(axis=0), np.nan, logp - usual + math.log(2.0))
    log_in = _log_mean(others, seen)
    with np.errstate(divide="ignore"):
        inferred_out = (
            np.log(np.maximum(np.exp(log_in) - (1.0 - scale), 0.0) / scale) if scale else np.full_like(logp, -np.inf)
        )
    log_in, log_out = (
        np.where(seen.any(axis=0), log_in, inferred_in),
        np.where(seen.all(axis=0), inferred_out, log_out),
    )
    return logp - np.logaddexp(log_in, log_out) + math.log(2.0)


def rmia(ratio: ArrayLike, *, population: ArrayLike, gamma: float = 1.0) -> Array:
    """Return the share of the population that each record beats by more than ``gamma``, [N] in [0, 1].

    Exactly the mean over z of ``ratio > population + log(gamma)`` (log ratios), by one sort and a search:
    O((N + Z) log Z). The paper has >=; only ties differ. Break ties of the share by ``ratio`` itself.

    Args:
        ratio: :func:`log_ratio` [N] of the records.
        population: the same [Z] of records that the target was not trained on.
        gamma: 1 or another positive number.

    Raises:
        ValueError: wrong shapes, NaN, or a gamma that is not positive.
    """
    x, z = numbers(ratio, "ratio", ndim=1), numbers(population, "population", ndim=1)
    if not gamma > 0:
        raise ValueError(f"gamma is positive, found {gamma}")
    return _below(x, z + math.log(gamma)) / len(z)


def rmia_p_value(ratio: ArrayLike, *, population: ArrayLike) -> Array:
    """Return (1 + the number of z with at least the record's ratio) / (Z + 1), [N].

    Valid, P(p <= f) <= f, where an unseen record is exchangeable with the population: both ratios ``offline``, with
    the same references. At least 1 / (Z + 1).
    """
    x, z = numbers(ratio, "ratio", ndim=1), numbers(population, "population", ndim=1)
    return (1 + len(z) - _below(x, z)) / (len(z) + 1)


def tuned_scale(held_out: ArrayLike, *, member: ArrayLike, references: ArrayLike, keep: ArrayLike) -> float:
    """Return the ``scale`` of 0, .1, ..., 1 with the best offline AUC on a reference that is held out.

    ``held_out`` [N] are the log-probabilities under it, ``member`` [N] says what it was trained on; the smallest of
    equals. Only records that some other reference did not see count.

    Raises:
        ValueError: as :func:`log_ratio`, or no record on one of the sides.
    """
    own = mask(member, "member", shape=np.shape(held_out))
    best, found = -1.0, 0.0
    for value in np.arange(11) / 10:
        ratio = log_ratio(held_out, references=references, keep=keep, offline=True, scale=float(value))
        usable = ~np.isnan(ratio)
        if not ((own & usable).any() and (~own & usable).any()):
            raise ValueError("needs members and non-members with a reference that did not see them, found one kind")
        auc = ranking(ratio[own & usable], ratio[~own & usable]).auc
        if auc > best:
            best, found = auc, float(value)
    return found


def _below(x: Array, z: Array) -> Array:
    """Return how many of ``z`` lie below each ``x``, [N]; equal ones do not."""
    order = np.argsort(x)  # keys in order walk through the sorted population in order: a third faster
    result = np.empty(len(x))
    result[order] = np.searchsorted(np.sort(z), x[order], side="left")
    return result


def _log_mean(logp: Array, chosen: Mask) -> Array:
    """Return the log of the mean probability over the chosen rows, [N]; -inf where there is none."""
    count = np.maximum(chosen.sum(axis=0), 1)
    values = np.where(chosen, logp, -np.inf)
    if not chosen.any():
        return values[0]
    result: Array = special.logsumexp(values, axis=0) - np.log(count)
    return result


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
