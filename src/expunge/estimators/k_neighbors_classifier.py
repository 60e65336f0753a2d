"""Nearest neighbours vote; a forgotten row is in no list, no memory and no file."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from expunge.core.level import Level
from expunge.estimators._neighbours import Neighbours


class ForgettingKNeighborsClassifier(ClassifierMixin, Neighbours):
    """The majority of the nearest rows, as scikit-learn's ``KNeighborsClassifier``, with ``forget(ids)``.

    The model is the rows: a delete takes one out of memory, and out of the file where it is saved anew. Distances are
    exact (no index that would have to be rewritten), and of rows at the same distance the one with the smaller id
    comes first, whatever order they came in; classes with as many votes are taken in their own order. A delete
    costs one copy of the rows, a query O(n d). ``kneighbors()`` of the rows themselves keeps what it found, and
    searches again only for those whose neighbour left.

    Args:
        n_neighbors: how many rows vote.
        weights: ``"uniform"``, or ``"distance"`` for votes of one over the distance.
        p: power of the Minkowski metric, at least 1.
        metric: ``"minkowski"``, ``"euclidean"``, ``"manhattan"``, ``"chebyshev"`` or ``"cosine"``.

    Raises:
        ValueError: fewer rows remain than are to vote.
    """

    title = "k-nearest neighbours that forget (classes)"
    source = "nearest neighbours (Cover & Hart, IEEE Trans. Inf. Theory 1967); scikit-learn's KNeighborsClassifier"
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
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return np.asarray(y)

    def _settle(self) -> None:
        classes, self._codes = np.unique(self._y, return_inverse=True)
        self.classes_ = np.array(classes.tolist()) if classes.dtype.kind == "U" else classes  # as wide as its texts

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the share of votes of each class ([m, classes])."""
        places, weights = self._weighted(X)
        votes = np.zeros((len(places), len(self.classes_)))
        for column in range(places.shape[1]):
            votes[np.arange(len(places)), self._codes[places[:, column]]] += weights[:, column]
        return votes / votes.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class with the most votes ([m])."""
        votes = self.predict_proba(X)
        return self.classes_[votes.argmax(axis=1)]
