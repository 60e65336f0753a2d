"""Nearest neighbours by exact distances in the order of the ids, and their graph, repaired where a row left or came."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.utils.validation import validate_data

from expunge.core.estimator import Remains
from expunge.estimators._base import Forgetting
from expunge.estimators._packed import pack, unpack

_METRICS = {"minkowski", "euclidean", "manhattan", "chebyshev", "cosine"}
_AT_ONCE = 1 << 22  # distances in memory at a time


class Neighbours(Forgetting):
    """Rows in the order of their ids; a subclass reads ``y`` and says what neighbours make of it.

    What a row is near to is a function of the two rows alone, bit for bit: distances that a fast product of matrices
    finds are bounded for their rounding, and all that could be among the nearest are computed anew, difference by
    difference. Of rows at the same distance the one with the smaller id comes first.
    """

    n_neighbors: int
    weights: str
    p: float
    metric: str

    # --- rows ---

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        if self.metric not in _METRICS:
            raise ValueError(f"metric must be one of {', '.join(sorted(_METRICS))}; found {self.metric!r}")
        if self.weights not in ("uniform", "distance"):
            raise ValueError(f"weights must be 'uniform' or 'distance'; found {self.weights!r}")
        if not isinstance(self.n_neighbors, (int, np.integer)) or self.n_neighbors < 1:
            raise ValueError(f"n_neighbors must be an integer of at least 1; found {self.n_neighbors!r}")
        if self.metric == "minkowski" and not self.p >= 1:
            raise ValueError(f"p must be at least 1; found {self.p!r}")
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64, y_numeric=False, multi_output=True)
        return {"X": X, "y": self._read_y(y, first=first)}

    @abstractmethod
    def _read_y(self, y: Any, *, first: bool) -> np.ndarray:
        """Return the targets of the rows; ``first`` lets ``fit`` learn their kind."""

    def _begin(self) -> None:
        self._names: list[Any] = []
        self._X = self._y = None
        self._graph: Graph | None = None

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        order = sorted(range(len(ids)), key=ids.__getitem__)
        X, y = rows["X"][order], rows["y"][order]
        if self._X is None or not len(self._X):
            self._X, self._y, self._names, self._graph = X, y, [ids[i] for i in order], None
            return
        if (y.dtype.kind in "biuf") != (self._y.dtype.kind in "biuf"):
            raise ValueError(f"y has values of type {self._y.dtype} before and {y.dtype} now: give one type of values")
        places = np.array([bisect_left(self._names, ids[i]) for i in order], dtype=np.int64)
        y_all = np.insert(self._y.astype(np.result_type(self._y, y)), places, y)
        if self._graph is not None:
            self._graph.enter(places, lambda part: self._pairs(self._X[part], X))
        self._X, self._y = np.insert(self._X, places, X, axis=0), y_all
        self._names = sorted([*self._names, *ids])

    def _remove(self, places: np.ndarray) -> None:
        gone = np.array(sorted(bisect_left(self._names, self._book.ids[place]) for place in places), dtype=np.int64)
        if self._graph is not None:
            self._graph.leave(gone)
        self._X, self._y = np.delete(self._X, gone, axis=0), np.delete(self._y, gone)
        for place in reversed(gone.tolist()):
            del self._names[place]

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name != "_names"}  # the book has them
        return {**state, "_y": pack(state["_y"])} if "_y" in state else state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__({**state, "_y": unpack(state["_y"])} if "_y" in state else state)
        if "_y" in state:
            self._names = sorted(self._book.ids)

    def _learnt(self) -> Mapping[str, Any]:
        return {"ids": list(self._names), "X": self._X, "y": self._y.tolist() if len(self._names) else []}

    @property
    def sample_ids_(self) -> tuple[str | int, ...]:
        """The ids of the rows, sorted: what :meth:`kneighbors` counts in."""
        return tuple(self._names)

    @property
    def what_remains_(self) -> Remains:
        return Remains(
            rows=len(self._book),
            holds="the rows themselves" + ("" if self._graph is None else ", and the neighbours of each"),
            tombstones=self._book.tombstones,
            pending=0 if self._graph is None else int(self._graph.stale.sum()),
            notes=() if self._graph is None else ("rows that had a forgotten neighbour are searched at the next call",),
        )

    # --- neighbours ---

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Return distances and places ([m, k] each) of the nearest rows, nearest first.

        Args:
            X: rows to find neighbours of [m, d]; None for those held, each without itself. Those are kept, and after a
                row leaves or comes only the lists that it was or would be in are searched anew.
            n_neighbors: k; by default that of the estimator.
            return_distance: whether distances are returned beside the places.

        Places count in ``sample_ids_``: just after a fit without ids they are those of the rows given.
        """
        self._check_ready()
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if X is None:
            self._room_for(k, len(self._names) - 1)
            distances, places = self._own(k)
        else:
            Q = validate_data(self, X, reset=False, dtype=np.float64)
            self._room_for(k, len(self._names))
            distances, places = self._search(Q, k)
        return (distances, places) if return_distance else places

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity") -> Any:
        """Return :meth:`kneighbors` as a sparse matrix [m, n] of ones, or with ``mode="distance"`` of distances."""
        if mode not in ("connectivity", "distance"):
            raise ValueError(f"mode must be 'connectivity' or 'distance'; found {mode!r}")
        distances, places = self.kneighbors(X, n_neighbors)
        data = distances.ravel() if mode == "distance" else np.ones(places.size)
        starts = np.arange(0, places.size + 1, places.shape[1])
        return sp.csr_matrix((data, places.ravel(), starts), shape=(len(places), len(self._names)))

    def _room_for(self, k: int, rows: int) -> None:
        if not 1 <= k <= rows:
            raise ValueError(
                f"Expected 1 <= n_neighbors <= {rows}, the rows that there are, but n_neighbors = {k}: "
                "ask for fewer neighbours, or fit on more rows"
            )

    def _own(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self._graph is None or self._graph.k != k:
            self._graph = Graph(len(self._names), k)
        graph = self._graph
        missing = np.flatnonzero(graph.stale)
        if len(missing):
            graph.distances[missing], graph.places[missing] = self._search(self._X[missing], k, without=missing)
            graph.stale[missing] = False
        return graph.distances.copy(), graph.places.copy()

    def _weighted(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the neighbours of rows [m, k], and what each counts."""
        distances, places = self.kneighbors(X)
        if self.weights == "uniform":
            return places, np.ones(places.shape)
        zero = distances == 0
        with np.errstate(divide="ignore"):
            weights = np.where(zero.any(axis=1)[:, None], zero.astype(float), 1.0 / distances)
        return places, weights

    def _search(self, Q: np.ndarray, k: int, without: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and places of the ``k`` nearest rows of each query; ``without`` [m] leaves one out each."""
        distances, places = np.empty((len(Q), k)), np.empty((len(Q), k), dtype=np.int64)
        step = max(1, _AT_ONCE // len(self._X))
        for start in range(0, len(Q), step):
            part = slice(start, start + step)
            left_out = None if without is None else without[part]
            distances[part], places[part] = self._nearest(Q[part], k, left_out)
        return distances, places

    def _nearest(self, Q: np.ndarray, k: int, without: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        rough, slack = self._rough(Q)
        if without is not None:
            rough[np.arange(len(Q)), without] = np.inf
        edge = np.partition(rough, k - 1, axis=1)[:, k - 1]
        who, which = np.nonzero(rough <= (edge + slack)[:, None])
        near = self._between(Q, who, which) if slack.any() else rough[who, which]
        order = np.lexsort((which, near, who))
        first = np.searchsorted(who[order], np.arange(len(Q)))
        chosen = order[first[:, None] + np.arange(k)]
        found = near[chosen]
        if not np.isfinite(found).all():
            raise ValueError("distances overflow: scale the columns first")
        return (np.sqrt(found) if slack.any() else found), which[chosen]

    def _rough(self, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return squared distances [m, n] and how far two of them may be wrong by [m]; or exact ones, and zeros."""
        if self._euclidean:
            with np.errstate(over="ignore", invalid="ignore"):
                own, other = np.einsum("ij,ij->i", self._X, self._X), np.einsum("ij,ij->i", Q, Q)
                rough = own - 2 * (Q @ self._X.T) + other[:, None]
                # Each rounding of sums and products of d terms: at most (d + 4) units of (|q| + |x|)^2, twice over.
                reach = (np.sqrt(other) + np.sqrt(own.max())) ** 2
                slack = 4 * (Q.shape[1] + 4) * np.finfo(float).eps * reach + np.finfo(float).tiny
            if np.isfinite(rough).all() and np.isfinite(slack).all():
                return rough, slack
        return self._pairs(Q, self._X), np.zeros(len(Q))

    @property
    def _euclidean(self) -> bool:
        return self.metric == "euclidean" or (self.metric == "minkowski" and self.p == 2)

    def _between(self, Q: np.ndarray, who: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return squared distances of pairs, each summed by itself."""
        found = np.empty(len(who))
        step = max(1, _AT_ONCE // Q.shape[1])
        for start in range(0, len(who), step):
            part = slice(start, start + step)
            found[part] = np.square(Q[who[part]] - self._X[which[part]]).sum(axis=1)
        return found

    def _pairs(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Return all distances [a, b], pair by pair."""
        name = {"manhattan": "cityblock"}.get(self.metric, self.metric)
        if self._euclidean:
            return cdist(A, B)
        return cdist(A, B, name, p=self.p) if name == "minkowski" else cdist(A, B, name)


class Graph:
    """The neighbours of the rows held ([n, k]); those of stale rows are to be searched, and nothing is kept of them."""

    def __init__(self, n: int, k: int) -> None:
        self.k = k
        self.distances = np.full((n, k), np.nan)
        self.places = np.full((n, k), -1, dtype=np.int64)
        self.stale = np.ones(n, dtype=bool)

    def leave(self, gone: np.ndarray) -> None:
        """Take out rows (sorted places); lists that held one of them are stale: its reverse nearest neighbours."""
        self._spoil(np.isin(self.places, gone).any(axis=1))
        kept = np.ones(len(self.stale), dtype=bool)
        kept[gone] = False
        self.distances, self.stale = self.distances[kept], self.stale[kept]
        places = self.places[kept]
        self.places = np.where(places < 0, -1, places - np.searchsorted(gone, places))

    def enter(self, before: np.ndarray, to_new: Any) -> None:
        """Put in rows before these places (sorted); lists that one of them may belong to are stale.

        Args:
            before: where each new row goes, as :func:`numpy.insert` counts.
            to_new: distances of a part of the old rows to all new ones.
        """
        reach = self.distances[:, -1] * (1 + 1e-9)
        for part in _parts(len(self.stale), len(before)):
            near = (to_new(part) <= reach[part][:, None]).any(axis=1)
            self._spoil(np.arange(len(self.stale))[part][near])
        moved = np.where(self.places < 0, -1, self.places + np.searchsorted(before, self.places, side="right"))
        self.places = np.insert(moved, before, -1, axis=0)
        self.distances = np.insert(self.distances, before, np.nan, axis=0)
        self.stale = np.insert(self.stale, before, True)

    def _spoil(self, rows: np.ndarray) -> None:
        self.stale[rows], self.distances[rows], self.places[rows] = True, np.nan, -1


def _parts(n: int, width: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, width))
    return (slice(start, start + step) for start in range(0, n, step))
