"""A sound estimator that forgets, and broken ones: the contract cases must tell them apart."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from expunge.core.estimator import Remains
from expunge.core.level import Level
from expunge.estimators._base import Forgetting, vacate


class Means(ClassifierMixin, Forgetting):
    """The nearest mean, computed from the rows themselves, in the order of their ids."""

    name = "means"
    title = "Nearest mean"
    source = "a test"
    guarantee = Level.BITWISE
    argument = "means are computed anew in the order of ids"

    def _read(self, X, y, *, first):
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_classification_targets(y)
        return {"X": X, "y": y}

    def _begin(self):
        self._X = self._y = None

    def _insert(self, rows, ids):
        X, y = rows["X"], rows["y"]
        if self._X is not None:
            X, y = np.concatenate([self._X, X]), np.concatenate([self._y, y])
        self._X, self._y = X, y

    def _remove(self, places):
        self._X, self._y = vacate(self._X, places), vacate(self._y, places)

    def _settle(self):
        order = self._book.canonical()
        self.classes_ = np.unique(self._y)
        X, y = self._X[order], self._y[order]
        self.means_ = np.array([X[y == c].mean(0) for c in self.classes_])

    def _learnt(self):
        return {"means": self.means_, "classes": list(self.classes_)}

    def decision_function(self, X):
        self._check_ready()
        X = validate_data(self, X, reset=False, dtype=np.float64)
        scores = -((X[:, None] - self.means_) ** 2).sum(2)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X):
        scores = self.decision_function(X)
        best = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        return self.classes_[best]

    @property
    def what_remains_(self):
        return Remains(rows=len(self._book), holds="the rows themselves", tombstones=self._book.tombstones)


class Stale(Means):
    """Takes rows out of its arrays, not out of its means."""

    def _settle(self):
        if not hasattr(self, "means_"):
            super()._settle()


class Running(Means):
    """Keeps sums in floating point: what is taken out is not what was put in."""

    def _begin(self):
        super()._begin()
        self._sums = {}

    def _insert(self, rows, ids):
        super()._insert(rows, ids)
        for x, c in zip(rows["X"], rows["y"], strict=True):
            n, s = self._sums.get(c, (0, 0.0))
            self._sums[c] = (n + 1, s + x)

    def _remove(self, places):
        for p in places:
            n, s = self._sums[self._y[p]]
            self._sums[self._y[p]] = (n - 1, s - self._X[p])
        super()._remove(places)

    def _settle(self):
        self.classes_ = np.array([c for c in sorted(self._sums) if self._sums[c][0]])
        self.means_ = np.array([self._sums[c][1] / self._sums[c][0] for c in self.classes_])


class Remembering(Means):
    """Keeps the ids of what it forgot."""

    def _remove(self, places):
        self._left = [*getattr(self, "_left", []), *(self._book.ids[p] for p in places)]
        super()._remove(places)
