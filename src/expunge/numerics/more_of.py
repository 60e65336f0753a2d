"""Which of some records are of the same kind as a few that are known? Learning from positive and unlabelled records.

Known records are of the kind; of the unlabelled nobody knows; strangers are sure not to be. A linear rule (ridge
regression, ``_ridge``) tells the known from the unlabelled. What it says of each record when fitted without it is laid
between two normal laws of one spread, that of the known and that of the strangers, and the share of the kind among the
unlabelled is found by expectation and maximisation. Then the rule is fitted again with the unlabelled counted on both
sides, by how likely they are: the first rule was told that all of them are of the other kind.

Sources: Elkan and Noto 2008 (KDD), "Learning classifiers from only positive and unlabeled data", where an unlabelled
record counts on both sides; Dempster, Laird and Rubin 1977 for the share.
Shapes: n1 known, n unlabelled, m strangers, d features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from expunge.numerics import _ridge
from expunge.numerics._arrays import Array, numbers
from expunge.numerics.known import auc_error
from expunge.numerics.membership import ranking

ROUNDS = 5
"""Fits after the first one, as in all that ``benchmarks/find.py`` measures."""
_STEPS = 100


@dataclass(frozen=True)
class Likely:
    """What was told apart.

    Attributes:
        telling: share of pairs in which the first rule puts the known record above the unlabelled one, each as it is
            answered by the rule fitted without it (AUC). Below one where the unlabelled hold more of the kind; one half
            or less where nothing tells, since leaving a record out moves the threshold with it (``telling_apart``).
        error: standard deviation of ``telling`` where nothing tells.
        unlabelled: how likely each is of the kind, [n], in 0..1.
        strangers: the same said of strangers, [m]: what is taken for the kind and is not.
    """

    telling: float
    error: float
    unlabelled: Array
    strangers: Array


def more_of(known: ArrayLike, unlabelled: ArrayLike, strangers: ArrayLike) -> Likely:
    """Return how likely unlabelled records [n, d] are of the kind of known ones [n1, d], strangers [m, d] being none.

    The order of records changes nothing, nor does the unit of a feature.

    Raises:
        ValueError: wrong shapes, NaN, or fewer than 2 records on a side.
    """
    sides = [numbers(v, n, ndim=2) for v, n in ((known, "known"), (unlabelled, "unlabelled"), (strangers, "strangers"))]
    if len({side.shape[1] for side in sides}) > 1 or min(map(len, sides)) < 2:
        raise ValueError(f"needs 2 records a side of as many features, found {[side.shape for side in sides]}")
    mine, others = len(sides[0]), len(sides[1])
    both = np.concatenate(sides[:2])
    spread = both.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    rows, away = (both - both.mean(axis=0)) / scale, _ridge.with_ones((sides[2] - both.mean(axis=0)) / scale)
    positive, telling = np.repeat([1.0, 0.0], [mine, others]), 0.0
    theirs = np.zeros(len(away))
    for number in range(ROUNDS + 1):
        yes, no = 0.5 * positive / positive.sum(), 0.5 * (1.0 - positive) / (1.0 - positive).sum()
        fit = _ridge.fit(rows, yes + no)
        target = (yes - no) / (yes + no)  # that of a record which stands on both sides
        said, strange = fit.without(target), away @ fit.slopes(target)
        if not number:
            telling = ranking(said[:mine], said[mine:]).auc
        likely, theirs = _posterior(said[:mine], said[mine:], strange)
        positive[mine:] = np.minimum(likely, 1.0 - 1e-9)  # else none might be left on the other side
    return Likely(telling, auc_error(mine, others), positive[mine:], theirs)


def _posterior(known: Array, unlabelled: Array, strangers: Array) -> tuple[Array, Array]:
    """Return how likely unlabelled and strangers are of the kind, by what a rule says of them; 0 where it is mute."""
    spread = 0.5 * (known.var() + strangers.var())
    far = known.mean() - strangers.mean()
    if far <= 0 or spread <= 0:  # the rule says nothing, or the contrary
        return np.zeros(len(unlabelled)), np.zeros(len(strangers))
    middle = 0.5 * (known.mean() + strangers.mean())
    odds, other = (far / spread * (each - middle) for each in (unlabelled, strangers))
    share = 0.5
    for _ in range(_STEPS):
        share = float(np.clip(expit(odds + np.log(share / (1.0 - share))).mean(), 1e-9, 1.0 - 1e-9))
    prior = np.log(share / (1.0 - share))
    return expit(odds + prior), expit(other + prior)


def surprise(
    features: Array, labels: NDArray[np.int64], others: Array, theirs: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return how well labels [n] fit features [n, d], and those [m] of other records [m, d]: two numbers each.

    How much a linear rule (least squares, a target per class) holds the record to be of its label, and how much more
    than of the likeliest other one; fitted without the record, so that a label learnt by heart does not fit itself.
    """
    classes = np.unique(labels)
    spread = features.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    fit = _ridge.fit((features - features.mean(axis=0)) / scale, np.full(len(features), 1.0 / len(features)))
    target = (labels[:, None] == classes).astype(float)
    said = fit.without(target), _ridge.with_ones((others - features.mean(axis=0)) / scale) @ fit.slopes(target)
    return _margins(said[0], labels, classes), _margins(said[1], theirs, classes)


def _margins(said: Array, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> Array:
    own = labels[:, None] == classes
    mine = np.where(own, said, 0.0).sum(axis=1)
    return np.column_stack([mine, mine - np.where(own, -np.inf, said).max(axis=1)])
