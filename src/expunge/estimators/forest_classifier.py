"""A random forest for classes that forgets a row in microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from expunge.estimators._forest import Forest
from expunge.estimators._forest_kernels import TARGET, TOTALS


class ForgettingForestClassifier(ClassifierMixin, Forest):
    """Random forest that forgets, for any number of classes, with numbers, categories and missing values.

    Each row lives in ``trees_per_row`` of ``n_estimators`` trees. ``forget`` tags the subtrees that would be other
    without the row; they are grown again by the next question that needs them, or all by :meth:`drain`. Then the forest
    is bit for bit the one that a fresh fit with the same seed grows on what remains.

    Args:
        n_estimators: number of trees, T.
        trees_per_row: in how many of them a row is, k; the cost of a delete is that of k paths.
        max_depth: longest path, in [0, 62].
        max_features: how many columns a node looks at: ``"sqrt"``, None (all), an integer, or a share.
        cuts: how many of the values at hand it considers in each; drawn anew at every node.
        min_samples_split: fewest rows that a node is split with.
        min_samples_leaf: fewest rows on each side of a cut.
        categorical_features: columns that hold categories, by number or name or mask; ``"from_dtype"``: those of a
            frame with categories or text; None: none. A cut parts one category from the others.
        random_state: seed; None draws a secret one.

    Attributes:
        classes_: the classes that have rows, sorted.
        is_categorical_: which columns hold categories, bool [d].
    """

    title: ClassVar[str] = "Forest that forgets (classes)"
    _numbers: ClassVar[bool] = False

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        trees_per_row: int = 10,
        max_depth: int = 12,
        max_features: Any = 0.35,
        cuts: int = 5,
        min_samples_split: int = 2,
        min_samples_leaf: int = 3,
        categorical_features: Any = "from_dtype",
        random_state: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.trees_per_row = trees_per_row
        self.max_depth = max_depth
        self.max_features = max_features
        self.cuts = cuts
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.categorical_features = categorical_features
        self.random_state = random_state

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class [m, C], in the order of ``classes_``: mean shares in leaves."""
        return self._ask(X)[:, self._order]

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class [m]; of equally probable ones the first."""
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(axis=1)]

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        codes = self._codes(X, first=first)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        check_consistent_length(codes, y)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        kinds = {type(label) for label in [*np.unique(y).tolist(), *([] if first else self.classes_.tolist())]}
        if len(kinds) > 1:
            raise ValueError(f"labels of different types: {sorted(kind.__name__ for kind in kinds)}")
        return {"codes": codes, "y": y}

    def _begin(self) -> None:
        self._labels: list[Any] = []  # by class code; None where a code is free
        self._members: list[int] = []  # rows of each class code
        super()._begin()

    def _width(self) -> int:
        return max(1, len(self._labels))

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        labels, inverse, members = np.unique(rows["y"], return_inverse=True, return_counts=True)
        code = {label: c for c, label in enumerate(self._labels) if label is not None}
        free = [c for c, label in enumerate(self._labels) if label is None]
        for label, count in zip(labels.tolist(), members.tolist(), strict=True):
            if label not in code:
                c = code[label] = free.pop() if free else len(self._labels)
                if c == len(self._labels):
                    self._labels.append(None)
                    self._members.append(0)
                self._labels[c] = label
            self._members[code[label]] += count
        if self._t.node.shape[1] - TOTALS < len(self._labels):
            self._widen(len(self._labels))
        target = np.array([code[label] for label in labels.tolist()], dtype=np.int64)[inverse]
        self._put(rows["codes"], target, self._keys(ids))
        self._kind = rows["y"].dtype if rows["y"].dtype.kind not in "US" else np.dtype(str)
        self._name_classes()

    def _remove(self, places: np.ndarray) -> None:
        gone = self._t.known[places, TARGET].tolist()
        super()._remove(places)
        for c in gone:
            self._members[c] -= 1
        if not all(self._members[c] for c in gone):
            self._labels = [label if count else None for label, count in zip(self._labels, self._members, strict=True)]
            self._name_classes()

    def _name_classes(self) -> None:
        held = sorted((label, c) for c, label in enumerate(self._labels) if label is not None)
        self._order = np.array([c for _, c in held], dtype=np.int64)
        self.classes_ = np.array([label for label, _ in held], dtype=self._kind)

    def _learnt(self) -> Mapping[str, Any]:
        nodes, order = self._structure(), self._book.canonical()
        rank = np.zeros(len(self._labels), np.int64)
        rank[self._order] = np.arange(len(self._order))
        return {
            "nodes": np.concatenate([nodes[:, :5], nodes[:, 5 + self._order]], axis=1),
            "classes": self.classes_.tolist(),
            "rows": self._t.codes[order],
            "targets": rank[self._t.known[order, TARGET]],
        }

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        _, X, y = super().trial(seed)
        return cls(20, trees_per_row=8, cuts=4, random_state=seed), X, y
