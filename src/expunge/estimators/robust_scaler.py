"""Medians and quantiles from sorted columns: a running extreme cannot be taken back, a place in an order can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.preprocessing import RobustScaler
from sklearn.utils.validation import validate_data

from expunge.core.level import Level
from expunge.estimators._preparing import Preparing
from expunge.estimators._sorted import SortedColumns


class ForgettingRobustScaler(Preparing, RobustScaler):
    """Scikit-learn's ``RobustScaler``, with ``forget(ids)``; all its parameters mean the same. Dense tables only.

    Each column is held sorted, every value as often as rows have it. Missing values (NaN) are left out and stay;
    infinite ones are refused. A delete costs a search and a shift in each column.
    """

    title = "Robust scaling that forgets"
    source = "quantiles of the multiset of each column (reference section 2.1); scikit-learn's RobustScaler"
    guarantee = Level.BITWISE
    argument = (
        "medians and quantiles are a function of the sorted values of each column without those of forgotten rows"
    )
    _holds = "the rows themselves, and their columns sorted"
    _held: SortedColumns

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        low, high = self.quantile_range
        if not 0 <= low <= high <= 100:
            raise ValueError(f"Invalid quantile range: {self.quantile_range}")
        return {"X": validate_data(self, X, reset=first, dtype=np.float64, ensure_all_finite="allow-nan")}

    def _begin(self) -> None:
        self._held = SortedColumns()

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        self._held.add(rows["X"])

    def _remove(self, places: np.ndarray) -> None:
        self._held.remove(places)

    def _settle(self) -> None:
        if not len(self._held.X):
            return
        self.center_ = self._held.quantile(0.5) if self.with_centering else None
        self.scale_ = None
        if self.with_scaling:
            low, high = (share / 100 for share in self.quantile_range)
            width = self._held.quantile(high) - self._held.quantile(low)
            self.scale_ = np.where(width < 10 * np.finfo(float).eps, 1.0, width)
            if self.unit_variance:
                self.scale_ = self.scale_ / (norm.ppf(high) - norm.ppf(low))

    def _acts(self) -> Mapping[str, Any]:
        return {"center": self.center_, "scale": self.scale_}

    def _learnt(self) -> Mapping[str, Any]:
        return self._held.learnt()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
