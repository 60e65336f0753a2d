"""How far what a model says of some records lies from what it says of others, kind by kind.

Every kind of record is compared with its own counterparts alone, so that a difference in the mix of kinds is no
difference, and errors in opposite directions do not cancel across kinds.
Shapes: n records of a kind, m values of their counterparts, each with a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """One kind of record: scores of its own, and of its counterparts.

    Attributes:
        mine: one score per record, [n], n >= 1.
        theirs: scores of the counterparts, [m], m >= 1.
        weights: how much each of them counts, [m], not negative, of any positive sum.
    """

    mine: Array
    theirs: Array
    weights: Array

    def mapped(self, mine: Array, theirs: Array) -> Kind:
        """Return this kind with other scores."""
        return Kind(mine, theirs, self.weights)


def distance(kinds: Sequence[Kind]) -> float:
    """Return the Wasserstein-1 distance of records and counterparts, averaged over all records, in units of the score.

    Per kind the area between the two distribution functions (Vallender 1974, Theory of Probability and its
    Applications 18(4)). Two finite samples of one law are some distance apart: it is 0 for equal ones alone.

    Raises:
        ValueError: no kinds.
    """
    return _averaged(kinds, lambda k: wasserstein_distance(k.mine, k.theirs, v_weights=k.weights))


def gap(kinds: Sequence[Kind]) -> float:
    """Return the largest distance between the two distribution functions, averaged over all records, in [0, 1].

    Kolmogorov's distance: it asks for the order of scores alone, so that any rising map leaves it as it is. 1 where
    every record lies on one side of all its counterparts, however far. Of n and m draws of one law it is about
    0.87 sqrt((n + m) / (n m)) in the mean, not 0 (Kolmogorov 1933: the mean of the limit law is sqrt(pi/2) ln 2).

    Raises:
        ValueError: no kinds.
    """
    return _averaged(kinds, _gap)


def lean(kinds: Sequence[Kind]) -> float:
    """Return by how much the share of pairs in which a record scores more than a counterpart is above a half.

    In [-1/2, 1/2], averaged over records, ties counting half: the area under the ROC curve less a half (Mann and
    Whitney 1947). 0 for two draws of one law but for chance.

    Raises:
        ValueError: no kinds.
    """
    return _averaged(kinds, _lean)


def _lean(kind: Kind) -> float:
    sides = (_below(kind, kind.mine, side) for side in ("left", "right"))
    return float(sum(each.mean() for each in sides) / 2 - 0.5)


def _below(kind: Kind, at: Array, side: Literal["left", "right"]) -> Array:
    """Return the weight of the counterparts below (``left``), or not above, each of the scores ``at``, as a share."""
    order = np.argsort(kind.theirs)
    below = np.concatenate([[0.0], np.cumsum(kind.weights[order]) / kind.weights.sum()])
    found: Array = below[np.searchsorted(kind.theirs[order], at, side=side)]
    return found


def _gap(kind: Kind) -> float:
    grid = np.concatenate([kind.mine, kind.theirs])
    mine = np.searchsorted(np.sort(kind.mine), grid, side="right") / len(kind.mine)
    return float(np.abs(mine - _below(kind, grid, "right")).max())


def _averaged(kinds: Sequence[Kind], of: Callable[[Kind], float]) -> float:
    if not kinds:
        raise ValueError("nothing to compare: no kind has both records and counterparts")
    return float(sum(len(k.mine) * of(k) for k in kinds) / sum(len(k.mine) for k in kinds))
