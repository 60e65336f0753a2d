"""Divide and conquer: k-means in buckets that rows fall into by a keyed hash, and k-means of what the buckets say."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators._base import secret_seed
from expunge.estimators._clustering import Clustering, nearest, race, totals
from expunge.estimators._keyed import row_keys, uniforms
from expunge.estimators._packed import pack, unpack


class ForgettingKMeans(Clustering):
    """k-means over buckets, with ``forget(ids)``: a delete runs one bucket of rows again, and the bucket of centres.

    Which bucket a row is in is a keyed hash of its id; the rows of each are clustered, in the order of their ids, and
    the centres of all buckets, weighted by their rows, are clustered into the final ones. Seeds are drawn as
    k-means++ does, by a race that is keyed by the ids. So the centres are a function of (seed, set of rows), bit
    for bit, and a delete costs about ``1 / n_buckets`` of a fit. The price is the detour: the sum of squares is some
    percent above that of Lloyd's on all rows (``n_buckets=1`` is that).

    Where there are fewer distinct rows than clusters, each is a centre; no error is raised, for a request could
    lead there.

    Args:
        n_clusters: how many centres.
        n_buckets: into how many parts rows fall; does not follow the number of rows, for that changes.
        n_init: how many times seeds are drawn for the final centres; the best run is taken. Buckets take one.
        max_iter: the most steps of a run.
        random_state: an integer makes the same centres again; None draws a secret seed, which is kept and saved.
    """

    title = "k-means by divide and conquer, that forgets"
    source = "DC-k-means (Ginart et al., NeurIPS 2019, arXiv 1907.05012), with keyed buckets and seeds"
    guarantee = Level.BITWISE
    argument = (
        "the bucket of a row and every seed are keyed by ids, each run sees its rows in the order of their ids, and "
        "the runs that a row took part in are made again without it"
    )

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_buckets: int = 16,
        n_init: int = 3,
        max_iter: int = 100,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_buckets = n_buckets
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        self._check_settings(n_buckets=1, n_init=1, max_iter=1)
        return {"X": self._read_points(X, first=first)}

    def _begin(self) -> None:
        self._seed = secret_seed(self.random_state)
        self._buckets: dict[int, Bucket] = {}

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        X = rows["X"]
        which = self._which(ids)
        changed = {}
        for b in np.unique(which).tolist():
            part = np.flatnonzero(which == b)
            held = self._buckets.get(b)
            names = [ids[i] for i in part]
            points = X[part]
            if held is not None:
                names, points = [*held.names, *names], np.concatenate([held.X, points])
            changed[b] = self._run(b, names, points)
        self._buckets = {**self._buckets, **changed}

    def _remove(self, places: np.ndarray) -> None:
        ids = [self._book.ids[place] for place in places]
        which = self._which(ids)
        buckets = dict(self._buckets)
        for b in np.unique(which).tolist():
            held = buckets.pop(b)
            gone = [held.place(ids[i]) for i in np.flatnonzero(which == b)]
            left = np.delete(np.arange(len(held.names)), gone)
            if len(left):
                buckets[b] = self._run(b, [held.names[i] for i in left], held.X[left])
        self._buckets = buckets

    def _which(self, ids: Sequence[Any]) -> np.ndarray:
        share = uniforms(row_keys(self._seed, ids), self._seed, "bucket")
        return (share * self.n_buckets).astype(np.int64)

    def _run(self, b: int, names: list[Any], X: np.ndarray) -> Bucket:
        order = sorted(range(len(names)), key=names.__getitem__)
        names, X = [names[i] for i in order], np.ascontiguousarray(X[order])
        keys, ones = row_keys(self._seed, names), np.ones(len(X))
        return Bucket(names, X, *self._clustered(X, ones, keys, self.n_init if self.n_buckets == 1 else 1, "bucket", b))

    def _clustered(
        self, X: np.ndarray, weights: np.ndarray, keys: np.ndarray, turns: int, *place: Any
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the centres of the best run, the weight of each, and its steps; no centre is without points."""
        best: tuple[float, np.ndarray, np.ndarray, int] | None = None
        weighted = weights[:, None] * X
        for turn in range(turns):
            centres = X[race(X, weights, keys, self.n_clusters, self._seed, *place, turn)]
            labels = None
            for steps in range(1, self.max_iter + 1):  # noqa: B007  the number that were taken is kept
                before, labels = labels, nearest(X, centres)
                if before is not None and np.array_equal(before, labels):
                    break
                held = np.bincount(labels, weights=weights, minlength=len(centres))
                some = held > 0
                centres = totals(labels, weighted, len(centres))[some] / held[some][:, None]
                labels = (np.cumsum(some) - 1)[labels]
            labels = nearest(X, centres)
            cost = float((weights * np.square(X - centres[labels]).sum(axis=1)).sum())
            held = np.bincount(labels, weights=weights, minlength=len(centres))
            if best is None or cost < best[0]:
                best = cost, centres[held > 0], held[held > 0], steps
        assert best is not None
        return best[1:]

    def _settle(self) -> None:
        if not self._buckets:
            self.__dict__.pop("cluster_centers_", None)
            return
        parts = [(b, self._buckets[b]) for b in sorted(self._buckets)]
        centres = np.concatenate([part.centres for _, part in parts])
        weights = np.concatenate([part.weights for _, part in parts])
        if len(parts) == 1:
            self.cluster_centers_, self.n_iter_ = centres.copy(), parts[0][1].steps
            return
        keys = row_keys(self._seed, [("centre", b, i) for b, part in parts for i in range(len(part.centres))])
        self.cluster_centers_, _, self.n_iter_ = self._clustered(centres, weights, keys, self.n_init, "final")

    def _rows(self) -> np.ndarray:
        if not len(self._book):
            return np.empty((0, self.n_features_in_))
        where = zip(self._which(self._book.ids).tolist(), self._book.ids, strict=True)
        return np.stack([self._buckets[b].X[self._buckets[b].place(name)] for b, name in where])

    def _learnt(self) -> Mapping[str, Any]:
        return {
            "seed": self._seed,
            "centres": getattr(self, "cluster_centers_", []),
            "buckets": {str(b): [part.names, part.X, part.centres, part.weights] for b, part in self._buckets.items()},
        }

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        _, X, y = super().trial(seed)
        return cls(3, n_buckets=4, random_state=seed), X, y

    @property
    def what_remains_(self) -> Remains:
        return Remains(
            rows=sum(len(part.names) for part in self._buckets.values()),
            holds="the rows themselves, and centres of buckets",
            tombstones=self._book.tombstones,
            notes=("the seed of buckets and seeds is kept: it is key material",),
        )


class Bucket:
    """Rows of one bucket in the order of their ids, their centres, how many rows each has, and the steps it took."""

    def __init__(self, names: list[Any], X: np.ndarray, centres: np.ndarray, weights: np.ndarray, steps: int) -> None:
        self.names, self.X, self.centres, self.weights, self.steps = names, X, centres, weights, steps

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "names": pack(self.names)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update({**state, "names": unpack(state["names"])})

    def place(self, name: Any) -> int:
        """Return the place of a row."""
        return bisect_left(self.names, name)
