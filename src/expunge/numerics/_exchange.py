"""What a measure of two ensembles says when both are one: whole models are exchanged between the sides.

Source: permutation test, Fisher 1935; models and not single values, so that records of one model stay tied. Never a
bootstrap, which repeats models and so raises maxima and histogram divergences further.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from expunge.numerics._arrays import Array


def exchanged(one: Array, other: Array, *, times: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Return ``times`` random divisions of all models of ``one`` and ``other``, [M, N] each, into two halves."""
    if times < 1:
        raise ValueError(f"needs 1 exchange or more, found {times}")
    pool, models, draw = np.concatenate([one, other]), len(one), np.random.default_rng(seed)
    orders = (draw.permutation(2 * models) for _ in range(times))
    return ((pool[order[:models]], pool[order[models:]]) for order in orders)
