"""Encoders of categories that forget: counts per category, and scikit-learn's encoder made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from expunge.estimators._columns import Table, read_columns
from expunge.estimators._preparing import Preparing


class Encoding(Preparing):
    """One count per category; the columns of a table, read one by one, may be texts and numbers."""

    _plain: ClassVar[type]
    _holds = "the categories of the rows, and counts"
    _table: Table

    def _read(self, X: Any, y: Any, *, first: bool) -> Mapping[str, Any]:
        columns = read_columns(self, X, first=first)
        if self.categories != "auto" and self.handle_unknown == "error":  # type: ignore[attr-defined]
            for j, (values, known) in enumerate(zip(columns, self.categories, strict=False)):  # type: ignore[attr-defined]
                if strange := set(values.tolist()) - set(known):
                    raise ValueError(f"Found unknown categories {sorted(strange, key=repr)} in column {j} during fit")
        return {str(j): values for j, values in enumerate(columns)}

    def _begin(self) -> None:
        self._table = Table()

    def _insert(self, rows: Mapping[str, Any], ids: Sequence[str | int]) -> None:
        self._table.add(list(rows.values()))

    def _remove(self, places: np.ndarray) -> None:
        self._table.remove(places)

    def _settle(self) -> None:
        table = self._table
        limited = self.min_frequency is not None or self.max_categories is not None  # type: ignore[attr-defined]
        if not len(table.slots) or not (table.changed or limited):
            return
        categories = [column.categories() for column in table.columns]
        # Whatever is learnt beside the categories depends on the counts of each column alone.
        columns = table.spread() if limited else categories
        rows = max(map(len, columns))
        stand_in = np.empty((rows, len(columns)), dtype=object)
        for j, values in enumerate(columns):
            stand_in[:, j] = np.resize(values.astype(object), rows)
        self._fit_plainly(self._plain, stand_in)
        if self.categories == "auto":  # type: ignore[attr-defined]
            self.categories_ = categories  # the same, with the type of each column
        table.changed = False

    def _acts(self) -> Mapping[str, Any]:
        return {
            "categories": self.categories_,
            "infrequent": getattr(self, "_infrequent_indices", None),
            "drop": getattr(self, "drop_idx_", None),
        }

    def _learnt(self) -> Mapping[str, Any]:
        values = [column.categories().tolist() for column in self._table.columns]
        return {"categories": values if len(self._book) else [], "counts": self._table.counts()}

    @classmethod
    def trial(cls, seed: int) -> tuple[Any, Any, Any]:
        draw = np.random.default_rng(seed)
        X = np.empty((60, 3), dtype=object)
        X[:, 0] = draw.choice(["oak", "ash", "elm", "yew"], 60)
        X[:, 1] = draw.integers(5, size=60).astype(object)
        X[:, 2] = [f"only-{i}" if i % 7 == 0 else "often" for i in range(60)]
        return cls(), X, np.arange(60) % 2
