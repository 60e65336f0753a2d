"""Records dealt out to the members of an ensemble: is the one that held a record surer of it than those that did not?

A keyed hash with a secret seed dealt every unit (a subject, or a single record) to one of S members. Of members none of
which ever saw the forgotten units, that deal is independent: who held a unit is any of the S with the same chance,
whatever the members say and however unlike they are. So the mean place of the holder among all is 1/2, and its variance
follows from the answers alone: a randomisation test (Fisher 1935; Lehmann and Romano, Testing Statistical Hypotheses,
section 15.2), and no assumption on models or records.

Source: the members of SISA (Bourtoule et al. 2021, arXiv 1912.03817) as models that never saw a record.
Shapes: S members, n records; holders are numbered 0..S-1, units 0..G-1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def places(said: Array) -> Array:
    """Return the share of the other members that are less sure of a record, ties half, [S, n]; columns average 1/2.

    Args:
        said: a score of each record by each member, larger where it is surer, [S, n] with S >= 2.
    """
    result: Array = (stats.rankdata(said, axis=0) - 1.0) / (len(said) - 1.0)
    return result


def holders_places(places: Array, holders: Labels) -> Array:
    """Return the place of the member that held each record, [n]."""
    result: Array = places[holders, np.arange(len(holders))]
    return result


def chance(places: Array, units: Labels) -> float:
    """Return the standard deviation, over the deal, of the mean place of the holders.

    Each unit of ``units`` [n] went to one of the S members with the same chance, independently of the others.
    """
    count = places.shape[1]
    sums = np.zeros((int(units.max()) + 1, len(places)))
    np.add.at(sums, units, places.T)
    return math.sqrt(float(sums.var(axis=1).sum())) / count


def chance_before(members: int, units: int) -> float:
    """Return :func:`chance` before anything was said: single records, no ties: sqrt((S + 1) / (12 (S - 1) G))."""
    return math.sqrt((members + 1) / (12.0 * (members - 1) * units))
