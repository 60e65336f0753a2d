"""A sharded ensemble around any classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.multiclass import check_classification_targets

from expunge.estimators._sharded import Sharded


class ShardedClassifier(ClassifierMixin, Sharded):
    """An ensemble of classifiers, each trained on one shard of the rows; answers are the weighted mean of theirs.

    ``estimator`` is any scikit-learn compatible classifier with ``predict_proba``, XGBoost's and LightGBM's included.
    Accuracy falls with the number of shards, most for rare classes: see ``docs/guides/tables.md``.
    """

    title = "Sharded classifier"

    def _default(self) -> Any:
        return DecisionTreeClassifier()

    def _target(self, y: Any) -> np.ndarray:
        check_classification_targets(y)
        return np.asarray(y)

    def _learn_targets(self) -> None:
        classes = np.unique(self._y)
        told = getattr(self, "classes_", classes)
        self.classes_ = classes
        if self.n_slices > 1 and not np.array_equal(told, classes):
            # A member with partial_fit is told all classes at its first slice: another list is another member.
            self._touched = dict.fromkeys(range(self.n_shards), 0)
            self._states = [[] for _ in range(self.n_shards)]

    def _known(self) -> Any:
        return self.classes_

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the weighted mean of the members' probabilities, [n, classes]; an empty shard has no vote."""
        X = self._checked(X)
        total = np.zeros((len(X), len(self.classes_)))
        for member, weight in self._voting():
            columns = np.searchsorted(self.classes_, member.classes_)
            total[:, columns] += weight * member.predict_proba(X)
        return total

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, [n]."""
        best = self.predict_proba(X).argmax(1)
        found: np.ndarray = self.classes_[best]
        return found
