"""Means and deviations from integer sums: what a row added can be taken away again, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from expunge.core.level import Level
from expunge.estimators._moments import Moments
from expunge.estimators._preparing import Preparing


class ForgettingStandardScaler(Preparing, StandardScaler):
    """Scikit-learn's ``StandardScaler``, with ``forget(ids)``; all its parameters mean the same. Dense tables only.

    Sums and sums of squares are integers on a grid of 2^-49 of each column's power of two, which follows the largest
    magnitude that is held, so that no range is to be declared. Missing values (NaN) are left out and stay; infinite
    ones are refused. A column whose values are all equal has variance 0 exactly, and scale 1. ``mean_`` and ``var_``
    are rounded once from exact rationals: they differ from scikit-learn's by its rounding errors.

    A delete costs O(d) per row, and O(n) in a column whose largest value goes. The rows are held.
    """

    title = "Standard scaling that forgets"
    source = "summation form in fixed-point integers (Cao & Yang, IEEE S&P 2015); scikit-learn's StandardScaler"
    guarantee = Level.BITWISE
    argument = "means and variances are a function of integer sums, from which the terms of forgotten rows are taken"
    _holds = "the rows themselves, and integer sums"
    _moments: Moments

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        return {"X": validate_data(self, X, reset=first, dtype=np.float64, ensure_all_finite="allow-nan")}

    def _begin(self) -> None:
        self._moments = Moments()

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        self._moments.add(rows["X"])

    def _remove(self, places: np.ndarray) -> None:
        self._moments.remove(places)

    def _settle(self) -> None:
        held = self._moments
        if not len(held.X):
            return
        count = held.count
        self.n_samples_seen_ = int(count[0]) if (count == count[0]).all() else count.copy()
        self.mean_ = held.mean() if self.with_mean or self.with_std else None
        self.var_ = held.variance() if self.with_std else None
        self.scale_ = None
        if self.with_std:
            deviation = np.sqrt(self.var_)
            self.scale_ = np.where(deviation == 0, 1.0, deviation)

    def _acts(self) -> Mapping[str, Any]:
        return {"mean": self.mean_, "scale": self.scale_}

    def _learnt(self) -> Mapping[str, Any]:
        return self._moments.learnt()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
