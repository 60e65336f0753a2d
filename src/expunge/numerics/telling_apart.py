"""How well can records of two kinds be told apart by several features at once? Fitted and tried on different records.

The rule is a linear one (ridge regression on the kind, both kinds weighing the same). Its AUC is the share of pairs,
one record of each kind, that the rule fitted *without the two* puts into the right order: leaving out one record at a
time moves the threshold with it and takes chance for less than one half (Airola et al. 2011, Computational Statistics
and Data Analysis 55(4), "An experimental comparison of cross-validation techniques for estimating the area under the
ROC curve"). No pair needs a fit of its own: with the hat matrix H and residuals e of the fit to all records, the
residuals of a pair S without it are (I - H_SS)^-1 e_S.
Shapes: n1 members, n0 strangers, d features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expunge.numerics import _ridge
from expunge.numerics._arrays import Array, numbers
from expunge.numerics.membership import Ranking

TIE = 1e-9
"""Predictions of two kinds, 1 and -1, are taken for one where they are so near."""


def pairs_apart(members: ArrayLike, strangers: ArrayLike) -> Ranking:
    """Return the leave-pair-out AUC of members [n1, d] above strangers [n0, d], with the mean of every record's pairs.

    The order of records changes nothing, nor does the unit of a feature. 0.5 where nothing tells, in the mean.

    Raises:
        ValueError: wrong shapes, NaN, or fewer than 2 records of a kind.
    """
    one, other = numbers(members, "members", ndim=2), numbers(strangers, "strangers", ndim=2)
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"members have {one.shape[1]} features, strangers {other.shape[1]}")
    n1, n0 = len(one), len(other)
    if min(n1, n0) < 2:
        raise ValueError(f"needs 2 records of each kind or more, found {n1} and {n0}")
    both = np.concatenate([one, other])
    spread = both.std(axis=0)
    weight = 0.5 / n1, 0.5 / n0
    fit = _ridge.fit((both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.repeat(weight, [n1, n0]))
    left = fit.left(np.repeat([1.0, -1.0], [n1, n0]))
    # (I - H_SS)^-1 e_S for every pair, by the inverse of a 2 by 2 matrix; both are of 1 and -1, so 2 lies between them.
    across = fit.rows[:n1] @ fit.solved[:, n1:]
    mine, theirs = fit.stays[:n1, None], fit.stays[None, n1:]
    lost = (theirs - weight[0] * across) * left[:n1, None] + (weight[1] * across - mine) * left[None, n1:]
    gap = 2.0 - lost / (mine * theirs - weight[0] * weight[1] * across**2)
    right: Array = (gap > TIE) + 0.5 * (np.abs(gap) <= TIE)
    return Ranking(float(right.mean()), right.mean(axis=1), right.mean(axis=0))
