"""How alike two models represent the same records, and what a linear probe reads from a representation.

Source: linear CKA: Kornblith et al. 2019, arXiv 1905.00414; debiased by the unbiased HSIC of Song et al.
2012, JMLR 13, as in Nguyen et al. 2021, arXiv 2010.15327. Control task: Hewitt and Liang 2019,
arXiv 1909.03368.
CKA is easily manipulated (arXiv 2210.16156) and says little about forgetting: read it beside a probe, against the
retrained model's value.
Shapes: n records, d features of one model, e of the other; m other records.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from expunge.numerics._arrays import Array, numbers

RIDGE = 0.1
"""Penalty of the probe, for features of unit variance: of .001 to .1 the one that tells the demo's memories best."""
DEBIASED_RECORDS = 4
"""The unbiased HSIC divides by n (n - 3)."""


def linear_cka(one: ArrayLike, *, other: ArrayLike) -> float:
    """Return linear CKA of ``one`` [n, d] and ``other`` [n, e], in [0, 1]; NaN where one does not vary.

    Independent features give about d / (n + d), not 0: use :func:`debiased_cka` unless n is far above d.
    """
    x, y = (features - features.mean(axis=0) for features in _features(one, other, least=2))
    within = math.sqrt(_square(x, x) * _square(y, y))
    return _square(x, y) / within if within > 0 else math.nan


def debiased_cka(one: ArrayLike, *, other: ArrayLike) -> float:
    """Return CKA from unbiased HSIC, 0 in the mean for independent features, so it may be negative.

    O(n d e), without an n by n matrix. NaN where an estimate of a features' own HSIC is not positive.

    Raises:
        ValueError: wrong shapes, NaN, fewer than 4 records.
    """
    # HSIC does not change with the mean; centring first keeps digits.
    x, y = (features - features.mean(axis=0) for features in _features(one, other, least=DEBIASED_RECORDS))
    own = _hsic(x, x), _hsic(y, y)
    return _hsic(x, y) / math.sqrt(own[0] * own[1]) if min(own) > 0 else math.nan


@dataclass(frozen=True)
class Probe:
    """What a linear layer reads: the held-out ``score`` [n] of each record's label, and of a shuffled one, ``control``.

    About 1 where the features tell the label, the share of the label among records where they tell nothing.
    """

    score: Array
    control: Array

    @property
    def selectivity(self) -> float:
        """What is read from the representation beyond what a probe learns by itself."""
        return float(self.score.mean() - self.control.mean())


def linear_probe(
    features: ArrayLike, *, labels: ArrayLike, others: ArrayLike, other_labels: ArrayLike, seed: int = 0
) -> Probe:
    """Fit a linear layer to both sets of records, and score every record of the first by the fit without it.

    Ridge regression on one-hot labels, penalty :data:`RIDGE`; features are scaled by those of ``others``, and the two
    sets weigh the same. Leaving a record out needs no second fit (Allen 1974, PRESS): with leverage h and fitted p,
    its held-out prediction is (p - h y)/(1 - h). The control shuffles the labels of the first set alone. The target is
    the retrained model's score, never chance.

    Args:
        features: [n, d] of the records that are read.
        labels: theirs, [n], integers.
        others: features [m, d] of records that the model may know.
        other_labels: theirs, [m].
        seed: of the shuffled labels.

    Raises:
        ValueError: wrong shapes, NaN, or only one class.
    """
    read, known = numbers(features, "features", ndim=2), numbers(others, "others", ndim=2)
    own, theirs = np.asarray(labels), np.asarray(other_labels)
    if read.shape[1] != known.shape[1]:
        raise ValueError(f"features have {read.shape[1]} columns, those of others {known.shape[1]}")
    for target, values in ((own, read), (theirs, known)):
        if target.shape != (len(values),):
            raise ValueError(f"labels have shape {list(target.shape)}; it takes one of each of {len(values)} records")
    classes = np.unique(np.concatenate([own, theirs]))
    if len(classes) < 2:
        raise ValueError("needs 2 classes or more, found 1")
    spread = known.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    design = [np.column_stack([(x - known.mean(axis=0)) / scale, np.ones(len(x))]) for x in (read, known)]
    weight = 0.5 / len(read), 0.5 / len(known)
    penalty = np.full(design[0].shape[1], RIDGE)
    penalty[-1] = 0.0  # the intercept is free
    gram = sum(w * x.T @ x for w, x in zip(weight, design, strict=True)) + np.diag(penalty)
    solved = linalg.solve(gram, design[0].T, assume_a="pos")  # [d + 1, n]
    leverage = weight[0] * (design[0] * solved.T).sum(axis=1)
    fixed = weight[1] * design[1].T @ (theirs[:, None] == classes)

    def score(target: NDArray[np.int64]) -> Array:
        hot = (target[:, None] == classes).astype(np.float64)
        fitted = solved.T @ (weight[0] * design[0].T @ hot + fixed)
        result: Array = ((fitted * hot).sum(axis=1) - leverage) / (1.0 - leverage)
        return result

    return Probe(score(own), score(np.random.default_rng(seed).permutation(own)))


def _features(one: ArrayLike, other: ArrayLike, *, least: int) -> tuple[Array, Array]:
    x, y = numbers(one, "one", ndim=2), numbers(other, "other", ndim=2)
    if len(x) != len(y):
        raise ValueError(f"the features are of {len(x)} and {len(y)} records; it takes the same records in both")
    if len(x) < least:
        raise ValueError(f"needs {least} records or more, found {len(x)}")
    return x, y


def _square(x: Array, y: Array) -> float:
    """Return ||X'Y||^2 = sum over i, j of K_ij L_ij."""
    return float(((x.T @ y) ** 2).sum())


def _hsic(x: Array, y: Array) -> float:
    """Return the unbiased HSIC from Gram matrices K = XX', L = YY' with zero diagonals, of which none is formed."""
    n = len(x)
    diagonals = (x**2).sum(axis=1), (y**2).sum(axis=1)
    rows = x @ x.sum(axis=0) - diagonals[0], y @ y.sum(axis=0) - diagonals[1]
    trace = _square(x, y) - float(diagonals[0] @ diagonals[1])
    total = float(rows[0].sum() * rows[1].sum()) / ((n - 1) * (n - 2))
    return (trace + total - 2 * float(rows[0] @ rows[1]) / (n - 2)) / (n * (n - 3))
