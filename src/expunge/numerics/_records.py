"""What metrics over scored tokens ask of their arrays: records in order, none of them without a token.

Shapes: N scored tokens of n records; ``record`` [N] is the record of every token, numbered 0..n-1, in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expunge.numerics._arrays import Array, numbers

Counts = NDArray[np.int64]
_ABOVE = 1e-4
"""Above 0 by more than float32 leaves of a log-probability of 0."""


def lengths(record: ArrayLike, n: int, *, tokens: int) -> Counts:
    """Return how many scored tokens every record has, [n], each 1 or more.

    Raises:
        ValueError: ``record`` is not [tokens], not ascending, names others than 0..n-1, or leaves a record without
            tokens: no text has no memory, and a score of it would be made up.
    """
    owner = np.asarray(record)
    if owner.shape != (tokens,) or owner.dtype.kind not in "iu" or n < 1:
        raise ValueError(
            f"record is {owner.dtype} of shape {list(owner.shape)} for {n} records; it takes integers [{tokens}]"
        )
    if tokens and (owner[0] < 0 or owner[-1] >= n or (owner[1:] < owner[:-1]).any()):
        raise ValueError(f"record names records in another order than 0..{n - 1}: sort the tokens by record")
    count = np.bincount(owner, minlength=n)
    empty = np.flatnonzero(count == 0)
    if len(empty):
        raise ValueError(f"{len(empty)} of {n} records have no scored token, the first of them number {empty[0]}")
    return count


def means(values: ArrayLike, record: ArrayLike, n: int, *, name: str) -> Array:
    """Return the mean of ``values`` [N] over the tokens of each record, [n].

    Every sum runs over the tokens of one record in their order, so other records do not change a bit of it.
    """
    value = numbers(values, name, ndim=1)
    count = lengths(record, n, tokens=len(value))
    result: Array = np.bincount(np.asarray(record), weights=value, minlength=n) / count
    return result


def lowest(values: ArrayLike, record: ArrayLike, n: int, *, share: float, name: str) -> Array:
    """Return the mean of the ``max(1, floor(share * T))`` lowest of the T values of each record, [n]."""
    value = numbers(values, name, ndim=1)
    count = lengths(record, n, tokens=len(value))
    if not 0 < share <= 1:
        raise ValueError(f"share is in (0, 1], found {share}")
    taken = np.maximum(1, np.floor(share * count + 1e-6).astype(np.int64))  # 0.29 of 100 is 29, whatever floats say
    owner = np.asarray(record)
    ordered = value[np.lexsort((value, owner))]
    place = np.arange(len(value)) - np.repeat(np.cumsum(count) - count, count)
    kept = place < taken[owner]
    result: Array = np.bincount(owner[kept], weights=ordered[kept], minlength=n) / taken
    return result


def log_probabilities(values: ArrayLike, name: str) -> Array:
    """Return ``values`` [N] in float64; ValueError unless they can be log-probabilities: finite, at most 0."""
    found = numbers(values, name, ndim=1)
    if found.max() > _ABOVE:
        raise ValueError(f"{name} holds {found.max():.3g}: log-probabilities are at most 0 (a loss is minus one)")
    return found
