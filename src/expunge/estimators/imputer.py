"""What stands in for missing values, from sums, sorted columns or counts, so that no forgotten value stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.utils.validation import validate_data

from expunge.core.level import Level
from expunge.estimators._base import vacate
from expunge.estimators._columns import Table
from expunge.estimators._moments import Moments
from expunge.estimators._preparing import Preparing
from expunge.estimators._sorted import SortedColumns

_STRATEGIES = ("mean", "median", "most_frequent", "constant")


class ForgettingImputer(Preparing, SimpleImputer):
    """Scikit-learn's ``SimpleImputer``, with ``forget(ids)``; all its parameters mean the same. Dense tables only.

    ``strategy`` is ``"mean"`` (integer sums), ``"median"`` (sorted columns), ``"most_frequent"`` (counts; of values as
    frequent the smallest) or ``"constant"``; a function of your own cannot forget and is refused. A column of which
    only missing values remain is left out, and an indicator column of which none remain is gone, as in a fresh fit.
    A whole number in a column of mixed type (NumPy's object) is an integer.

    A delete costs O(d) per row, with the median a search and a shift in each column.
    """

    title = "Filling in missing values, that forgets"
    source = "summation form (Cao & Yang, IEEE S&P 2015), quantiles of multisets; scikit-learn's SimpleImputer"
    guarantee = Level.BITWISE
    argument = "what is filled in is a function of integer sums, sorted columns or counts without the forgotten rows"
    _holds = "the rows themselves, and sums, sorted columns or counts"

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        if self.strategy not in _STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(_STRATEGIES)}; found {self.strategy!r}")
        numeric = self.strategy in ("mean", "median")
        finite: Any = "allow-nan" if _is_nan(self.missing_values) else True
        if not numeric and isinstance(X, list) and any(isinstance(cell, str) for row in X for cell in row):
            X = np.array(X, dtype=object)
        try:
            X = validate_data(self, X, reset=first, dtype=np.float64 if numeric else None, ensure_all_finite=finite)
        except ValueError as error:
            if "could not convert" in str(error):
                raise ValueError(f"Cannot use {self.strategy} strategy with non-numeric data:\n{error}") from None
            raise
        if X.dtype.kind not in "iufO":
            raise ValueError(
                f"SimpleImputer does not support data with dtype {X.dtype}. Please provide either a numeric array or "
                "texts with an object dtype."
            )
        return {"X": X}

    def _begin(self) -> None:
        self._held: Any = {"mean": Moments, "median": SortedColumns}.get(self.strategy, Table)()
        self._kind: Any = None
        self._mask = np.empty((0, 0), dtype=bool)

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        X = rows["X"]
        missing = self._missing(X)
        kind = self._kind or {"O": "object", "f": "float64"}.get(X.dtype.kind, "int64")
        if isinstance(self._held, Table):
            self._held.add(list(X.T))
        else:
            self._held.add(np.where(missing, np.nan, X))
        self._mask = np.concatenate([self._mask, missing]) if len(self._mask) else missing
        self._kind = kind

    def _remove(self, places: np.ndarray) -> None:
        self._held.remove(places)
        self._mask = vacate(self._mask, places)

    def _missing(self, X: np.ndarray) -> np.ndarray:
        if _is_nan(self.missing_values):
            return np.asarray(X != X, dtype=bool)
        return np.asarray(X == self.missing_values, dtype=bool).reshape(X.shape)

    def _settle(self) -> None:
        if not len(self._mask):
            return
        missing, filled = self._mask.any(axis=0), ~self._mask.all(axis=0)
        # Two rows from which scikit-learn learns the same: what is filled in, and what is missing anywhere.
        rows = np.empty((2, len(missing)), dtype=object)
        rows[:] = [self._values()] * 2
        rows[0, ~filled] = rows[1, missing] = self.missing_values
        self._fit_plainly(SimpleImputer, rows.astype(self._kind))

    def _values(self) -> list[Any]:
        """Return one value per column: the one to fill in, or with a constant any that is there."""
        if isinstance(self._held, Moments):
            return list(self._held.mean())
        if isinstance(self._held, SortedColumns):
            return list(self._held.quantile(0.5))
        found = []
        for column, counts in zip(self._held.columns, self._held.counts(), strict=True):
            there = [
                (-n, place, value)
                for place, (value, n) in enumerate(zip(column.categories().tolist(), counts.tolist(), strict=True))
                if not self._missing(np.array([[value]], dtype=object))[0, 0]
            ]
            found.append(min(there)[2] if there else self.missing_values)
        return found

    def _acts(self) -> Mapping[str, Any]:
        return {"statistics": self.statistics_, "indicator": getattr(self.indicator_, "features_", None)}

    def _learnt(self) -> Mapping[str, Any]:
        if not len(self._mask):
            return {}
        missing = self._mask.sum(axis=0)
        if isinstance(self._held, Table):
            values = [column.categories().tolist() for column in self._held.columns]
            return {"values": values, "counts": self._held.counts(), "missing": missing}
        return {**self._held.learnt(), "missing": missing}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
