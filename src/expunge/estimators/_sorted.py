"""Columns of numbers in order: quantiles after any insert and delete, which no running extreme could give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expunge.estimators._base import vacate


class SortedColumns:
    """Rows of numbers ([n, d]; NaN is left out), and each column sorted, every value as often as rows have it."""

    def __init__(self) -> None:
        self.X = np.empty((0, 0))
        self._columns: list[np.ndarray] = []

    @property
    def count(self) -> np.ndarray:
        """How many values each column has ([d])."""
        return np.array([len(column) for column in self._columns], dtype=np.int64)

    def add(self, X: np.ndarray) -> None:
        """Put rows at the end."""
        X = X + 0.0  # -0.0 equals 0.0: which of them is taken out must not matter
        old = self._columns or [np.empty(0)] * X.shape[1]
        columns = []
        for held, values in zip(old, X.T, strict=True):
            new = np.sort(values[~np.isnan(values)])
            columns.append(np.insert(held, np.searchsorted(held, new), new))
        self.X, self._columns = np.concatenate([self.X.reshape(-1, X.shape[1]), X]), columns

    def remove(self, places: np.ndarray) -> None:
        """Take rows out, as :func:`vacate` does."""
        columns = []
        for held, values in zip(self._columns, self.X[places].T, strict=True):
            gone = np.sort(values[~np.isnan(values)])
            repeated = np.arange(len(gone)) - np.searchsorted(gone, gone)  # the second of two equal ones is the next
            columns.append(np.delete(held, np.searchsorted(held, gone) + repeated))
        self.X, self._columns = vacate(self.X, places), columns

    def quantile(self, share: float) -> np.ndarray:
        """Return the quantile of each column ([d]), linear between neighbours (NumPy's default); NaN without values."""
        return np.array([_quantile(column, share) for column in self._columns])

    def learnt(self) -> Mapping[str, Any]:
        """Return the sorted columns, for fingerprints."""
        return {"sorted": self._columns} if len(self.X) else {}


def _quantile(values: np.ndarray, share: float) -> float:
    if not len(values):
        return float("nan")
    place = share * (len(values) - 1)
    below = int(np.floor(place))
    low, high = float(values[below]), float(values[min(below + 1, len(values) - 1)])
    part = place - below
    return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part
