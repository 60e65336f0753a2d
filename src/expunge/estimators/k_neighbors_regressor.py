"""The mean of nearest neighbours; a forgotten row is in no list, no memory and no file."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import assert_all_finite, column_or_1d

from expunge.core.level import Level
from expunge.estimators._neighbours import Neighbours


class ForgettingKNeighborsRegressor(RegressorMixin, Neighbours):
    """The mean of the nearest rows, as scikit-learn's ``KNeighborsRegressor``, with ``forget(ids)``.

    All else is as with :class:`~expunge.estimators.ForgettingKNeighborsClassifier`.

    Args:
        n_neighbors: how many rows the mean is over.
        weights: ``"uniform"``, or ``"distance"`` for weights of one over the distance.
        p: power of the Minkowski metric, at least 1.
        metric: ``"minkowski"``, ``"euclidean"``, ``"manhattan"``, ``"chebyshev"`` or ``"cosine"``.

    Raises:
        ValueError: fewer rows remain than the mean is over.
    """

    title = "k-nearest neighbours that forget (numbers)"
    source = "nearest neighbours (Cover & Hart, IEEE Trans. Inf. Theory 1967); scikit-learn's KNeighborsRegressor"
    guarantee = Level.BITWISE
    argument = (
        "the model is the set of rows; distances are summed pair by pair, and ties are broken by id, never by place"
    )

    def __init__(
        self, n_neighbors: int = 5, *, weights: str = "uniform", p: float = 2, metric: str = "minkowski"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.p = p
        self.metric = metric

    def _read_y(self, y: Any, *, first: bool) -> np.ndarray:
        y = column_or_1d(y, warn=True).astype(np.float64)
        assert_all_finite(y, input_name="y")
        return y

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean, or weighted mean, of the neighbours ([m])."""
        places, weights = self._weighted(X)
        return (self._y[places] * weights).sum(axis=1) / weights.sum(axis=1)
