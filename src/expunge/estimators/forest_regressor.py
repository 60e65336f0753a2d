"""A random forest for numbers that forgets a row in microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from expunge.estimators._forest import Forest
from expunge.estimators._forest_kernels import DIGIT, DIGITS, TARGET

_LARGEST = 2**40


class ForgettingForestRegressor(RegressorMixin, Forest):
    """Random forest that forgets, for numbers, with numbers, categories and missing values as input.

    Each row lives in ``trees_per_row`` of ``n_estimators`` trees. ``forget`` tags the subtrees that would be other
    without the row; they are grown again by the next question that needs them, or all by :meth:`drain`. Then the forest
    is bit for bit the one that a fresh fit with the same seed grows on what remains. Targets are rounded to multiples
    of ``resolution`` so that their sums are exact.

    Args:
        n_estimators: number of trees, T.
        trees_per_row: in how many of them a row is, k; the cost of a delete is that of k paths.
        max_depth: longest path, in [0, 62].
        max_features: how many columns a node looks at: ``"sqrt"``, None (all), an integer, or a share.
        cuts: how many of the values at hand it considers in each; drawn anew at every node.
        min_samples_split: fewest rows that a node is split with.
        min_samples_leaf: fewest rows on each side of a cut.
        resolution: step that targets are rounded to, in their own unit; targets reach up to ``2**40`` steps.
        categorical_features: columns that hold categories, by number or name or mask; ``"from_dtype"``: those of a
            frame with categories or text; None: none. A cut parts one category from the others.
        random_state: seed; None draws a secret one.

    Attributes:
        is_categorical_: which columns hold categories, bool [d].
    """

    title: ClassVar[str] = "Forest that forgets (numbers)"
    _numbers: ClassVar[bool] = True

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        trees_per_row: int = 10,
        max_depth: int = 15,
        max_features: Any = 0.5,
        cuts: int = 10,
        min_samples_split: int = 2,
        min_samples_leaf: int = 2,
        resolution: float = 2.0**-20,
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
        self.resolution = resolution
        self.categorical_features = categorical_features
        self.random_state = random_state

    def predict(self, X: Any) -> np.ndarray:
        """Return the expected target [m]: the mean over trees of the means of the leaves."""
        digits = self._ask(X)[:, 1:]
        return digits @ (float(self.resolution) * 2.0 ** (DIGIT * np.arange(DIGITS)))

    def _settings(self, columns: int) -> np.ndarray:
        if not (np.isscalar(self.resolution) and 0 < float(self.resolution) < np.inf):
            raise ValueError(f"resolution={self.resolution!r}: expected a positive number")
        return super()._settings(columns)

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        codes = self._codes(X, first=first)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        y = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(codes, y)
        steps = np.rint(y / float(self.resolution))
        largest = float(np.abs(steps).max())
        if largest >= _LARGEST:
            raise ValueError(
                f"Input y reaches {float(np.abs(y).max()):g}: with resolution={self.resolution:g} targets lie in "
                f"(-{_LARGEST * float(self.resolution):g}, {_LARGEST * float(self.resolution):g}); raise resolution."
            )
        return {"codes": codes, "target": steps.astype(np.int64)}

    def _width(self) -> int:
        return 1 + DIGITS

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        self._put(rows["codes"], rows["target"], self._keys(ids))

    def _learnt(self) -> Mapping[str, Any]:
        order = self._book.canonical()
        return {
            "nodes": self._structure(),
            "rows": self._t.codes[order],
            "targets": self._t.known[order, TARGET],
        }

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        _, X, y = super().trial(seed)
        return cls(20, trees_per_row=8, cuts=4, random_state=seed), X, y
