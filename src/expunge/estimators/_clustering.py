"""What k-means estimators share: seeds by a keyed race, one step of Lloyd's, and answers from the centres."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.validation import validate_data

from expunge.estimators._base import Forgetting
from expunge.estimators._keyed import first_by_weight

_LARGEST = 1e150


def race(points: np.ndarray, weights: np.ndarray, keys: np.ndarray, k: int, seed: int, *place: Any) -> list[int]:
    """Return the places of at most ``k`` seeds, drawn as k-means++ does; fewer where there are fewer distinct points.

    Each is drawn in proportion to its weight times its squared distance from the seeds before it (Arthur &
    Vassilvitskii, SODA 2007), by a race: without a seed, those before it stay, and it and those after it are drawn
    anew, as in a fresh run. (To draw all of them anew when one goes has another law.)
    """
    chosen: list[int] = []
    shares = weights
    nearest = np.full(len(points), np.inf)
    while len(chosen) < k:
        winner = first_by_weight(shares, keys, seed, *place, "seed", len(chosen))
        if winner < 0:
            break
        chosen.append(winner)
        nearest = np.minimum(nearest, cdist(points, points[winner : winner + 1], "sqeuclidean")[:, 0])
        shares = weights * nearest
    return chosen


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the centre that each point is nearest to ([n]); of equally near ones the first.

    Distances are summed pair by pair, so that they do not depend on what else is in the table.
    """
    found = np.empty(len(points), dtype=np.int64)
    step = max(1, (1 << 22) // max(1, len(centres)))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        found[part] = cdist(points[part], centres, "sqeuclidean").argmin(axis=1)
    return found


def totals(labels: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Return the sums of rows of ``values`` [n, d] by label ([k, d]), added up in the order of the rows."""
    ones = np.ones(len(labels), dtype=values.dtype)
    one_hot = sp.csc_array((ones, labels, np.arange(len(labels) + 1)), shape=(k, len(labels)))
    return np.asarray(one_hot @ values)


class Clustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, Forgetting):
    """Answers of k-means: the nearest of ``cluster_centers_``. Labels and inertia are computed when asked for."""

    n_clusters: int
    cluster_centers_: np.ndarray

    def _check_settings(self, **least: int) -> None:
        for name, smallest in {"n_clusters": 1, **least}.items():
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < smallest:
                raise ValueError(f"{name} must be an integer of at least {smallest}; found {value!r}")

    @abstractmethod
    def _rows(self) -> np.ndarray:
        """Return the rows held ([n, d]), in the order of ``sample_ids_``: just after a fit that of the rows given."""

    def _read_points(self, X: Any, *, first: bool) -> np.ndarray:
        points = np.asarray(validate_data(self, X, reset=first, dtype=np.float64), order="C")
        if points.size and not np.abs(points).max() < _LARGEST:
            raise ValueError(f"values of {_LARGEST:g} and more overflow in squares: scale the columns first")
        return points

    def predict(self, X: Any) -> np.ndarray:
        """Return the nearest centre of each row ([m], places in ``cluster_centers_``)."""
        self._check_ready()
        return nearest(self._read_points(X, first=False), self.cluster_centers_).astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:
        """Return the distance of each row from each centre ([m, k])."""
        self._check_ready()
        return cdist(self._read_points(X, first=False), self.cluster_centers_)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the sum of squared distances of rows ``X`` [m, d] from their nearest centres."""
        return -float(np.square(self.transform(X).min(axis=1)).sum())

    def fit_predict(self, X: Any, y: Any = None, sample_ids: Any = None) -> np.ndarray:
        """Learn from rows, and return the cluster of each ([n])."""
        return self.fit(X, y, sample_ids).predict(X)

    def fit_transform(self, X: Any, y: Any = None, sample_ids: Any = None) -> Any:
        """Learn from rows, and return their distances from the centres ([n, k])."""
        return self.fit(X, y, sample_ids).transform(X)

    @property
    def labels_(self) -> np.ndarray:
        """The cluster of each row held ([n]), in the order of ``sample_ids_``."""
        if not hasattr(self, "cluster_centers_"):
            raise AttributeError(f"this {type(self).__name__} has no labels_: it has no rows")
        return nearest(self._rows(), self.cluster_centers_).astype(np.int32)

    @property
    def inertia_(self) -> float:
        """The sum of squared distances of the rows held from their nearest centres."""
        rows = self._rows()
        return float(np.square(rows - self.cluster_centers_[nearest(rows, self.cluster_centers_)]).sum())

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)
