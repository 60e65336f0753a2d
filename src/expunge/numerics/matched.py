"""Members against strangers of their own class: how far the distributions of a score lie apart, and by chance.

Every member is compared with the strangers of its class alone, so that a difference in the mix of classes is no
difference. Where members and strangers of a class are draws of one law, the AUC is 1/2 in the mean, and its variance
over the deal is known without any model of the scores (Mann and Whitney 1947, class by class: a stratified rank test,
Lehmann, Nonparametrics, chapter 3.3).

Shapes: n1 members, n0 strangers; labels are class numbers; clusters are numbered 0..G-1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.numerics.membership import ranking

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
EXCHANGES = 999
"""Random exchanges for the law of :func:`gap`; the smallest p-value is 1 in one more."""


@dataclass(frozen=True)
class Matched:
    """A stratified AUC.

    Attributes:
        auc: mean over members of :attr:`member`, in [0, 1]; 1/2 where members and strangers of a class are alike.
        member: share of the strangers of its class that each member's score exceeds, ties half, [n1].
        error: standard error of ``auc`` over records, or over clusters where these are given.
        chance: standard deviation of ``auc`` over the deal of single records, were both of one law.
    """

    auc: float
    member: Array
    error: float
    chance: float


def matched(
    members: Array,
    strangers: Array,
    *,
    labels: tuple[Labels, Labels],
    clusters: tuple[Labels | None, Labels | None] = (None, None),
) -> Matched:
    """Return the AUC of scores [n1] against [n0], each member compared with the strangers of its class.

    Args:
        members: their scores, larger for members.
        strangers: theirs.
        labels: classes of the members [n1] and of the strangers [n0]; strangers of other classes are left out.
        clusters: who belongs together, [n1] and [n0]; None: each for itself.

    Raises:
        ValueError: a class of members without two strangers.
    """
    own, theirs = labels
    n1 = len(members)
    member, stranger = np.zeros(n1), np.zeros(len(strangers))
    for label in np.unique(own):
        mine, others = own == label, theirs == label
        n, m = int(mine.sum()), int(others.sum())
        if m < 2:
            raise ValueError(f"{m} strangers of a class with {n} members: 2 or more are needed")
        found = ranking(members[mine], strangers[others])
        member[mine] = found.member
        # As a share of the whole AUC; sqrt(m / (m - 1)) makes good what the mean of few takes from their spread.
        stranger[others] = n / n1 / m * math.sqrt(m / (m - 1)) * (found.stranger - found.auc)
    auc = float(member.mean())
    # Of the members the deviation from the whole AUC: of a class with one member its own says nothing.
    sides = (_summed((member - auc) / n1, clusters[0]), _summed(stranger, clusters[1]))
    counts = [dict(zip(*np.unique(of, return_counts=True), strict=True)) for of in labels]
    return Matched(auc, member, math.hypot(*sides), chance(*counts))


def chance(members: Mapping[int, int], strangers: Mapping[int, int]) -> float:
    """Return the standard deviation of the stratified AUC over the deal, from the counts of either side by class.

    sqrt( sum over classes of (n/n1)^2 (n + m + 1) / (12 n m) ): Mann and Whitney 1947, weighed by the members.
    """
    whole = sum(members.values())
    return math.sqrt(
        sum((n / whole) ** 2 * (n + strangers[c] + 1) / (12.0 * n * strangers[c]) for c, n in members.items())
    )


def _summed(residuals: Array, clusters: Labels | None) -> float:
    """Return the standard deviation of the sum of residuals whose clusters are independent; 0 for a single one."""
    sums = residuals if clusters is None else np.bincount(clusters, weights=residuals)
    count = len(sums)
    return math.sqrt(count / (count - 1) * float(np.square(sums).sum())) if count > 1 else 0.0


def gap(members: Array, strangers: Array, *, labels: tuple[Labels, Labels], seed: int) -> tuple[float, float]:
    """Return (largest distance of the two distribution functions, its p-value).

    The strangers' function is that of each class weighed by its share of the members. The law of the distance where
    both are alike is found by exchanging records within classes, so that the p-value is exact (Lehmann and Romano,
    Testing Statistical Hypotheses, section 15.2). It sees what an AUC of 1/2 hides: half known, half pushed too far.
    """
    own, theirs = labels
    kept = np.isin(theirs, own)
    scores, classes = np.concatenate([members, strangers[kept]]), np.concatenate([own, theirs[kept]])
    inside = np.arange(len(scores)) < len(members)
    shares = {label: float((own == label).mean()) for label in np.unique(own)}
    counts = {label: int((classes == label).sum()) - int((own == label).sum()) for label in shares}
    weight = np.array([shares[label] / counts[label] for label in classes])
    order = np.argsort(scores, kind="stable")
    last = np.append(np.diff(scores[order]) > 0, True)  # distances count where a value ends: ties go together
    draw = np.random.default_rng(seed)
    groups = [np.flatnonzero(classes == label) for label in shares]

    def distance(inside: NDArray[np.bool_]) -> float:
        steps = np.where(inside, 1.0 / len(members), -weight)[order]
        return float(np.abs(np.cumsum(steps))[last].max())

    found = distance(inside)
    beyond = 0
    for _ in range(EXCHANGES):
        dealt = inside.copy()
        for group in groups:
            dealt[group] = inside[draw.permutation(group)]
        beyond += distance(dealt) >= found - 1e-12
    return found, (beyond + 1) / (EXCHANGES + 1)
