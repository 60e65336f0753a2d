"""How far what a model says of some records lies from what it says of others, kind by kind.

Every kind of record is compared with its own counterparts alone, so that a difference in the mix of kinds is no
difference, and errors in opposite directions do not cancel across kinds.
Shapes: n records of a kind, m values of their counterparts, each with a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    if not kinds:
        raise ValueError("nothing to compare: no kind has both records and counterparts")
    parts = [len(k.mine) * wasserstein_distance(k.mine, k.theirs, v_weights=k.weights) for k in kinds]
    return float(sum(parts) / sum(len(k.mine) for k in kinds))
