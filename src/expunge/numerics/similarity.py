"""How alike two models represent the same records, and what a linear probe reads from a representation.

Source: linear CKA: Kornblith et al. 2019, arXiv 1905.00414; debiased by the unbiased HSIC of Song et al.
2012, JMLR 13, as in Nguyen et al. 2021, arXiv 2010.15327. Control task: Hewitt and Liang 2019,
arXiv 1909.03368.
CKA is easily manipulated (arXiv 2210.16156) and says little about forgetting: read it beside a probe, against the
retrained model's value.
Shapes: n records, d features of one model, e of the other, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expunge.numerics._arrays import Array, numbers

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
    """Held-out ``accuracy``, that of a probe trained on shuffled labels (``control``), and their difference."""

    accuracy: float
    control: float

    @property
    def selectivity(self) -> float:
        """What is read from the representation beyond what a probe learns by itself."""
        return self.accuracy - self.control


def linear_probe(features: ArrayLike, *, labels: ArrayLike, seed: int = 0) -> Probe:
    """Train logistic regressions on half of ``features`` [n, d] and score them on the other half.

    ``labels`` [n], integers: forgotten classes, attributes, or members against non-members. Features are scaled by
    the training half. The target is the retrained model's accuracy, never chance.

    Raises:
        ValueError: wrong shapes, NaN, or a class of fewer than 2 records, or only one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values, target = numbers(features, "features", ndim=2), np.asarray(labels)
    if target.shape != (len(values),):
        raise ValueError(f"labels have shape {list(target.shape)}; it takes one of each of {len(values)} records")
    classes, counts = np.unique(target, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise ValueError(f"needs 2 classes or more of 2 records or more, found counts {counts.tolist()}")
    train, test = train_test_split(np.arange(len(values)), test_size=0.5, stratify=target, random_state=seed)
    shuffled: NDArray[np.int64] = np.random.default_rng(seed).permutation(target)

    def score(truth: NDArray[np.int64]) -> float:
        if len(np.unique(truth[train])) < 2:
            return float((truth[test] == truth[train][0]).mean())
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        return float(probe.fit(values[train], truth[train]).score(values[test], truth[test]))

    return Probe(score(target), score(shuffled))


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
